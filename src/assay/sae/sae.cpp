#include "assay/sae/sae.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <functional>

#include "assay/base/error.h"

namespace assay {
namespace {

constexpr std::int64_t kSaeRows = 4096;  // rows whose [rows, d_sae] pre-activations are held at a time

template <class T>
void encode_rows(const Sae& sae, const Tensor& pre, LatentCodes& out) {
  const std::int64_t n = pre.size(0), F = sae.config.d_sae;
  const T* rows = pre.const_data_ptr<T>();
  std::vector<std::vector<std::int32_t>> chosen(static_cast<std::size_t>(n));
  const Tensor threshold = sae.threshold.defined() ? sae.threshold.to(pre.dtype()).contiguous() : Tensor();
  at::parallel_for(0, n, 16, [&](std::int64_t begin, std::int64_t end) {
    for (auto r = begin; r < end; ++r) {
      const T* row = rows + r * F;
      auto& list = chosen[static_cast<std::size_t>(r)];
      if (sae.config.activation == SaeActivation::topk) {
        top_k(row, F, sae.config.k, static_cast<const std::uint8_t*>(nullptr), list);
        std::erase_if(list, [&](std::int32_t j) { return !(row[j] > 0); });
      } else {
        const T* limit = threshold.defined() ? threshold.const_data_ptr<T>() : nullptr;
        for (std::int64_t j = 0; j < F; ++j)
          if (row[j] > 0 && (!limit || row[j] > limit[j])) list.push_back(static_cast<std::int32_t>(j));
      }
    }
  });
  for (std::int64_t r = 0; r < n; ++r) {
    for (const std::int32_t j : chosen[static_cast<std::size_t>(r)]) {
      out.latents.push_back(j);
      out.values.push_back(static_cast<double>(rows[r * F + j]));
    }
    out.offsets.push_back(static_cast<std::int64_t>(out.latents.size()));
  }
}

template <class T>
void decode_rows(const Sae& sae, const LatentCodes& codes, Tensor& out) {
  const std::int64_t d = sae.config.d_in;
  const Tensor W = sae.W_dec.contiguous(), b = sae.b_dec.contiguous();
  T* x = out.data_ptr<T>();
  at::parallel_for(0, codes.rows(), 16, [&](std::int64_t begin, std::int64_t end) {
    for (auto r = begin; r < end; ++r) {
      T* row = x + r * d;
      std::copy_n(b.const_data_ptr<T>(), d, row);
      for (auto s = codes.offsets[static_cast<std::size_t>(r)]; s < codes.offsets[static_cast<std::size_t>(r) + 1]; ++s) {
        const T* w = W.const_data_ptr<T>() + codes.latents[static_cast<std::size_t>(s)] * d;
        const T value = static_cast<T>(codes.values[static_cast<std::size_t>(s)]);
        for (std::int64_t i = 0; i < d; ++i) row[i] += value * w[i];
      }
    }
  });
}

}  // namespace

std::string_view sae_activation_name(SaeActivation activation) {
  return activation == SaeActivation::topk ? "topk" : activation == SaeActivation::relu ? "standard" : "jumprelu";
}

void SaeConfig::validate() const {
  std::string faults;
  const auto fault = [&](bool bad, const std::string& text) {
    if (bad) faults += (faults.empty() ? "" : "; ") + text;
  };
  fault(d_in < 1, "d_in is " + std::to_string(d_in) + ", must be positive");
  fault(d_sae < 1, "d_sae is " + std::to_string(d_sae) + ", must be positive");
  fault(activation == SaeActivation::topk && (k < 1 || k > d_sae),
        "k is " + std::to_string(k) + ", must lie between 1 and d_sae (" + std::to_string(d_sae) + ")");
  if (!faults.empty()) throw Error("sae", faults);
}

Tensor Sae::pre_activations(const Tensor& x) const {
  if (x.dim() != 2 || x.size(1) != config.d_in)
    throw Error("sae", "activations have the width " + std::to_string(x.size(-1)) + ", the SAE was made for " + std::to_string(config.d_in),
                "is it one of this model's, at this hook point?");
  const Tensor rows = x.to(W_enc.dtype());
  return at::addmm(b_enc, config.apply_b_dec_to_input ? rows - b_dec : rows, W_enc.t());
}

LatentCodes Sae::encode(const Tensor& x) const {
  LatentCodes out;
  for (std::int64_t begin = 0; begin < x.size(0); begin += kSaeRows) {
    const Tensor pre = pre_activations(x.slice(0, begin, std::min(begin + kSaeRows, x.size(0)))).contiguous();
    if (pre.scalar_type() == at::kDouble)
      encode_rows<double>(*this, pre, out);
    else
      encode_rows<float>(*this, pre, out);
  }
  return out;
}

Tensor Sae::decode(const LatentCodes& codes) const {
  Tensor out = at::empty({codes.rows(), config.d_in}, W_dec.options());
  if (out.scalar_type() == at::kDouble)
    decode_rows<double>(*this, codes, out);
  else
    decode_rows<float>(*this, codes, out);
  return out;
}

template <class T>
void top_k(const T* values, std::int64_t n, std::int64_t k, const std::uint8_t* among, std::vector<std::int32_t>& out) {
  // A heap whose front is the weakest of the best so far: nearly all values are only compared with it.
  const auto stronger = [&](std::int32_t a, std::int32_t b) { return values[a] > values[b] || (values[a] == values[b] && a < b); };
  out.clear();
  for (std::int64_t i = 0; i < n; ++i) {
    if (among && !among[i]) continue;
    const auto index = static_cast<std::int32_t>(i);
    if (static_cast<std::int64_t>(out.size()) < k) {
      out.push_back(index);
      std::push_heap(out.begin(), out.end(), stronger);
    } else if (k > 0 && values[i] > values[out.front()]) {
      std::pop_heap(out.begin(), out.end(), stronger);
      out.back() = index;
      std::push_heap(out.begin(), out.end(), stronger);
    }
  }
  std::sort_heap(out.begin(), out.end(), stronger);
}
template void top_k<float>(const float*, std::int64_t, std::int64_t, const std::uint8_t*, std::vector<std::int32_t>&);
template void top_k<double>(const double*, std::int64_t, std::int64_t, const std::uint8_t*, std::vector<std::int32_t>&);

}  // namespace assay
