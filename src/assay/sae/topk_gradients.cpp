#include "assay/sae/topk_gradients.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cassert>

namespace assay {
namespace {

/// The chosen latents of every row, `width` slots each; value 0 where a slot is not used. `gradient` is that of the pre-activation.
template <class T>
struct Slots {
  std::int64_t width = 0;
  std::vector<std::int32_t> latent;
  std::vector<T> value, gradient;
  void resize(std::int64_t n, std::int64_t k) {
    width = k;
    latent.assign(static_cast<std::size_t>(n * k), -1);
    value.assign(static_cast<std::size_t>(n * k), T(0));
    gradient.assign(static_cast<std::size_t>(n * k), T(0));
  }
};

/// Which slots a latent has, in the order of the rows.
struct ByLatent {
  std::vector<std::int64_t> offsets, slots;
};

template <class T>
ByLatent by_latent(const Slots<T>& s, std::int64_t F) {
  ByLatent out;
  out.offsets.assign(static_cast<std::size_t>(F) + 1, 0);
  for (const std::int32_t j : s.latent)
    if (j >= 0) ++out.offsets[static_cast<std::size_t>(j) + 1];
  for (std::size_t j = 0; j < static_cast<std::size_t>(F); ++j) out.offsets[j + 1] += out.offsets[j];
  out.slots.resize(static_cast<std::size_t>(out.offsets.back()));
  std::vector<std::int64_t> next(out.offsets.begin(), out.offsets.end() - 1);
  for (std::size_t i = 0; i < s.latent.size(); ++i)
    if (s.latent[i] >= 0) out.slots[static_cast<std::size_t>(next[static_cast<std::size_t>(s.latent[i])]++)] = static_cast<std::int64_t>(i);
  return out;
}

template <class T>
T dot(const T* a, const T* b, std::int64_t d) {
  T sum = 0;
  for (std::int64_t i = 0; i < d; ++i) sum += a[i] * b[i];
  return sum;
}
template <class T>
void add_scaled(T* to, T factor, const T* from, std::int64_t d) {
  for (std::int64_t i = 0; i < d; ++i) to[i] += factor * from[i];
}

template <class T>
TopKGradients gradients(const Sae& sae, const Tensor& x_in, const std::vector<std::uint8_t>& dead, double aux_coefficient) {
  const std::int64_t n = x_in.size(0), d = sae.config.d_in, F = sae.config.d_sae;
  const Tensor x_rows = x_in.to(sae.W_enc.dtype()).contiguous();
  const Tensor centred = sae.config.apply_b_dec_to_input ? (x_rows - sae.b_dec).contiguous() : x_rows;
  const Tensor pre_rows = at::addmm(sae.b_enc, centred, sae.W_enc.t()).contiguous();
  const Tensor W_enc = sae.W_enc.contiguous(), W_dec = sae.W_dec.contiguous();
  const T *x = x_rows.const_data_ptr<T>(), *xc = centred.const_data_ptr<T>(), *pre = pre_rows.const_data_ptr<T>();
  const T *dec = W_dec.const_data_ptr<T>(), *b_dec = sae.b_dec.const_data_ptr<T>();

  const std::int64_t n_dead = std::count_if(dead.begin(), dead.end(), [](auto is) { return is != 0; });
  const std::int64_t half = std::max<std::int64_t>(1, d / 2), k_aux = aux_coefficient > 0 ? std::min(half, n_dead) : 0;
  const double aux_scale = aux_coefficient * std::min(1.0, static_cast<double>(n_dead) / static_cast<double>(half));

  Slots<T> main, aux;
  main.resize(n, sae.config.k);
  aux.resize(n, k_aux);
  Tensor error_rows = at::empty({n, d}, x_rows.options());  // d loss / d x^
  Tensor aux_rows = at::empty({k_aux > 0 ? n : 0, d}, x_rows.options());
  T *error = error_rows.data_ptr<T>(), *aux_error = aux_rows.data_ptr<T>();
  std::vector<double> squares(static_cast<std::size_t>(n)), aux_squares(static_cast<std::size_t>(n));
  at::parallel_for(0, n, 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int32_t> chosen;
    for (auto r = begin; r < end; ++r) {
      const T* row = pre + r * F;
      T* e = error + r * d;
      // Reconstruction of one row, its error, and the gradients that the error sends to the chosen pre-activations.
      top_k(row, F, sae.config.k, static_cast<const std::uint8_t*>(nullptr), chosen);
      std::copy_n(b_dec, d, e);
      for (std::size_t s = 0; s < chosen.size(); ++s) {
        const T value = row[chosen[s]];
        if (!(value > 0)) continue;  // relu
        const auto slot = static_cast<std::size_t>(r * main.width) + s;
        main.latent[slot] = chosen[s];
        main.value[slot] = value;
        add_scaled(e, value, dec + chosen[s] * d, d);
      }
      for (std::int64_t i = 0; i < d; ++i) e[i] -= x[r * d + i];
      squares[static_cast<std::size_t>(r)] = static_cast<double>(dot(e, e, d));
      if (k_aux > 0) {
        T* a = aux_error + r * d;
        top_k(row, F, k_aux, dead.data(), chosen);
        std::copy_n(e, d, a);  // a W_dec - (x - x^) = a W_dec + e
        for (std::size_t s = 0; s < chosen.size(); ++s) {
          const auto slot = static_cast<std::size_t>(r * aux.width) + s;
          aux.latent[slot] = chosen[s];
          aux.value[slot] = row[chosen[s]];
          add_scaled(a, row[chosen[s]], dec + chosen[s] * d, d);
        }
        aux_squares[static_cast<std::size_t>(r)] = static_cast<double>(dot(a, a, d));
        const T factor = static_cast<T>(2.0 * aux_scale / static_cast<double>(n));
        for (std::int64_t i = 0; i < d; ++i) a[i] *= factor;
        for (auto s = r * aux.width; s < (r + 1) * aux.width; ++s)
          if (aux.latent[static_cast<std::size_t>(s)] >= 0)
            aux.gradient[static_cast<std::size_t>(s)] = dot(a, dec + aux.latent[static_cast<std::size_t>(s)] * d, d);
      }
      const T factor = static_cast<T>(2.0 / static_cast<double>(n));
      for (std::int64_t i = 0; i < d; ++i) e[i] *= factor;
      for (auto s = r * main.width; s < (r + 1) * main.width; ++s)
        if (main.latent[static_cast<std::size_t>(s)] >= 0)
          main.gradient[static_cast<std::size_t>(s)] = dot(e, dec + main.latent[static_cast<std::size_t>(s)] * d, d);
    }
  });

  TopKGradients out;
  out.W_enc = at::zeros_like(W_enc);
  out.W_dec = at::zeros_like(W_dec);
  out.b_enc = at::zeros_like(sae.b_enc);
  out.fired.assign(static_cast<std::size_t>(F), 0);
  T *d_enc = out.W_enc.data_ptr<T>(), *d_dec = out.W_dec.data_ptr<T>(), *d_bias = out.b_enc.data_ptr<T>();
  const auto accumulate = [&](const Slots<T>& slots, const T* errors, bool counts) {
    const ByLatent list = by_latent(slots, F);
    at::parallel_for(0, F, 16, [&](std::int64_t begin, std::int64_t end) {
      for (auto j = begin; j < end; ++j)
        for (auto i = list.offsets[static_cast<std::size_t>(j)]; i < list.offsets[static_cast<std::size_t>(j) + 1]; ++i) {
          const auto slot = static_cast<std::size_t>(list.slots[static_cast<std::size_t>(i)]);
          const std::int64_t r = static_cast<std::int64_t>(slot) / slots.width;
          add_scaled(d_dec + j * d, slots.value[slot], errors + r * d, d);
          add_scaled(d_enc + j * d, slots.gradient[slot], xc + r * d, d);
          d_bias[j] += slots.gradient[slot];
          if (counts) out.fired[static_cast<std::size_t>(j)] = 1;
        }
    });
  };
  accumulate(main, error, true);
  if (k_aux > 0) accumulate(aux, aux_error, false);
  out.b_dec = error_rows.sum(0);
  if (sae.config.apply_b_dec_to_input) out.b_dec = out.b_dec - at::mv(W_enc.t(), out.b_enc);  // pre-activations fall as b_dec grows

  for (const double s : squares) out.mse += s;
  for (const double s : aux_squares) out.aux += s;
  out.mse /= static_cast<double>(n);
  out.aux *= aux_scale / static_cast<double>(n);
  out.variance = (x_rows - x_rows.mean(0)).square().sum(at::kDouble).template item<double>() / static_cast<double>(n);
  for (const T value : main.value) out.active += value > 0;
  return out;
}

}  // namespace

TopKGradients topk_gradients(const Sae& sae, const Tensor& x, const std::vector<std::uint8_t>& dead, double aux_coefficient) {
  assert(sae.config.activation == SaeActivation::topk && static_cast<std::int64_t>(dead.size()) == sae.config.d_sae);
  return sae.W_enc.scalar_type() == at::kDouble ? gradients<double>(sae, x, dead, aux_coefficient)
                                                : gradients<float>(sae, x, dead, aux_coefficient);
}

}  // namespace assay
