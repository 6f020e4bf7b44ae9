#include "assay/model/reference_ops.h"

#include <ATen/ATen.h>

#include <cassert>

namespace assay::reference {

namespace {

/// Ids as an index tensor on the device of `like`.
Tensor index_tensor(std::span<const std::int32_t> ids, const Tensor& like) {
  const auto on_cpu = at::empty({static_cast<std::int64_t>(ids.size())}, at::TensorOptions().dtype(at::kLong));
  std::copy(ids.begin(), ids.end(), on_cpu.data_ptr<std::int64_t>());
  return on_cpu.to(like.device());
}

/// f64 stays f64 whatever the precision; it is the reference.
bool rounds(const Tensor& x, Precision precision) { return precision == Precision::bf16 && x.scalar_type() == at::kFloat; }

Tensor to_operand(const Tensor& x, Precision precision) { return rounds(x, precision) ? x.to(at::kBFloat16) : x; }

Tensor product(const Tensor& x, const Tensor& W, Precision precision) {
  return at::linear(to_operand(x, precision), to_operand(W, precision)).to(x.scalar_type());
}

}  // namespace

Tensor embed(const Tensor& W_E, std::span<const std::int32_t> ids) { return at::embedding(W_E, index_tensor(ids, W_E)); }

Tensor linear(const Tensor& x, const Tensor& W, const Tensor& b, Precision precision, const Tensor& residual) {
  Tensor y = product(x, W, precision);
  if (b.defined()) y = y + b;
  if (residual.defined()) y = y + residual;
  return y;
}

std::vector<Tensor> linear_many(const Tensor& x, std::span<const Tensor> W, std::span<const Tensor> b, Precision precision) {
  const Tensor operand = to_operand(x, precision);
  std::vector<Tensor> outputs;
  for (std::size_t i = 0; i < W.size(); ++i) {
    outputs.push_back(at::linear(operand, to_operand(W[i], precision)).to(x.scalar_type()));
    if (b[i].defined()) outputs.back() = outputs.back() + b[i];
  }
  return outputs;
}

Tensor rms_norm(const Tensor& x, const Tensor& w, double eps) { return at::rms_norm(x, {x.size(-1)}, w, eps); }

Tensor layer_norm(const Tensor& x, const Tensor& w, const Tensor& b, double eps) {
  return at::layer_norm(x, {x.size(-1)}, w, b.defined() ? std::optional<Tensor>(b) : std::nullopt, eps, /*cudnn_enable=*/false);
}

Tensor rope(const Tensor& x, const ops::RopeTable& rows) {
  const Tensor cos = rows.cos.to(x.options()).unsqueeze(1);  // [n, 1, rotated/2]
  const Tensor sin = rows.sin.to(x.options()).unsqueeze(1);
  const auto half = cos.size(-1);
  const Tensor first = x.narrow(-1, 0, half), second = x.narrow(-1, half, half);
  std::vector<Tensor> parts = {at::addcmul(first * cos, second, sin, -1), at::addcmul(second * cos, first, sin)};
  if (x.size(-1) > 2 * half) parts.push_back(x.narrow(-1, 2 * half, x.size(-1) - 2 * half));
  return at::cat(parts, -1);
}

namespace {

/// libtorch's FlashAttention over sequences laid end to end (Dao 2023): 16 bits on a GPU, heads of a multiple of 8.
Tensor packed_flash_attention(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const std::int64_t> offsets,
                              ops::Scores scores) {
  std::int64_t longest = 0;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) longest = std::max(longest, offsets[s + 1] - offsets[s]);
  const Tensor bounds = at::tensor(std::vector<std::int32_t>(offsets.begin(), offsets.end()), at::kInt).to(q.device());
  const auto before = scores.window > 0 ? std::optional<std::int64_t>(scores.window - 1) : std::nullopt;
  const auto after = scores.window > 0 ? std::optional<std::int64_t>(0) : std::nullopt;
  return std::get<0>(at::_flash_attention_forward(q.to(at::kBFloat16), k.to(at::kBFloat16), v.to(at::kBFloat16), bounds, bounds, longest,
                                                  longest, 0.0,
                                                  /*is_causal=*/true, /*return_debug_mask=*/false, scores.scale, before, after))
      .to(q.scalar_type());
}

}  // namespace

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const std::int64_t> offsets, ops::Scores scores,
                 Precision precision) {
  if (q.is_cuda() && rounds(q, precision) && q.size(2) % 8 == 0 && q.size(0) > 0) return packed_flash_attention(q, k, v, offsets, scores);
  const bool grouped = q.size(1) != k.size(1);
  const auto n_sequences = static_cast<std::int64_t>(offsets.size()) - 1;
  std::vector<Tensor> outputs;
  // Neighbours of one length go through one call: [sequences, heads, length, d_head].
  for (std::int64_t s = 0; s < n_sequences;) {
    const auto length = offsets[s + 1] - offsets[s];
    std::int64_t end = s + 1;
    while (end < n_sequences && offsets[end + 1] - offsets[end] == length) ++end;
    const auto rows = (end - s) * length;
    const auto part = [&](const Tensor& x) {
      return to_operand(x.narrow(0, offsets[s], rows).view({end - s, length, x.size(1), x.size(2)}).transpose(1, 2), precision);
    };
    if (length > 0) {
      const bool local = scores.window > 0 && scores.window < length;
      std::optional<Tensor> sees;  // [length, length]
      if (local) sees = at::ones({length, length}, q.options().dtype(at::kBool)).tril().triu(1 - scores.window);
      const Tensor z = at::scaled_dot_product_attention(part(q), part(k), part(v), sees, 0.0, /*is_causal=*/!local, scores.scale, grouped);
      outputs.push_back(z.to(q.scalar_type()).transpose(1, 2).reshape({rows, q.size(1), q.size(2)}));
    }
    s = end;
  }
  return outputs.empty() ? at::zeros_like(q) : at::cat(outputs, 0);
}

Tensor activation(const Tensor& x, Activation kind) {
  switch (kind) {
    case Activation::silu:
      return at::silu(x);
    case Activation::gelu:
      return at::gelu(x, "none");
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::relu:
      return at::relu(x);
  }
  assert(false);
  return x;
}

Tensor gated_activation(const Tensor& gate, const Tensor& up, Activation kind) { return reference::activation(gate, kind) * up; }

Tensor token_logprobs(const Tensor& hidden, const Tensor& W_U, std::span<const std::int32_t> targets, Precision precision) {
  constexpr std::int64_t chunk = 512;
  const auto n = hidden.size(0);
  const Tensor index = index_tensor(targets, hidden);
  std::vector<Tensor> parts;
  for (std::int64_t begin = 0; begin < n; begin += chunk) {
    const auto rows = std::min(chunk, n - begin);
    const Tensor logits = product(hidden.narrow(0, begin, rows), W_U, precision);
    parts.push_back(-at::nll_loss(at::log_softmax(logits, 1), index.narrow(0, begin, rows), {}, at::Reduction::None));
  }
  return parts.empty() ? at::zeros({0}, hidden.options()) : at::cat(parts, 0);
}

Tensor weighted_cross_entropy(const Tensor& hidden, const Tensor& W_U, std::span<const std::int32_t> targets,
                              std::span<const float> weights, Precision precision) {
  std::vector<std::int32_t> rows, kept;
  std::vector<float> kept_weights;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] == 0.0F) continue;
    rows.push_back(static_cast<std::int32_t>(i));
    kept.push_back(targets[i]);
    kept_weights.push_back(weights[i]);
  }
  const Tensor weight = at::tensor(kept_weights, at::TensorOptions().dtype(at::kFloat)).to(hidden.options());
  const Tensor logprobs = reference::token_logprobs(hidden.index_select(0, index_tensor(rows, hidden)), W_U, kept, precision);
  return -(logprobs * weight).sum();
}

}  // namespace assay::reference
