#include "assay/model/ops.h"

#include <ATen/ATen.h>

#include <cassert>
#include <cmath>
#include <numbers>
#include <numeric>

#include "assay/model/fused/fused.h"
#include "assay/model/reference_ops.h"

namespace assay::ops {

namespace {
/// Kernels take f32 on the CPU; everything else is composed of ATen operations.
bool fusable(const Tensor& x) { return x.device().is_cpu() && x.scalar_type() == at::kFloat && x.dim() == 2; }
}  // namespace

Tensor embed(const Tensor& W_E, std::span<const std::int32_t> ids) {
  return fusable(W_E) ? fused::embed(W_E, ids) : reference::embed(W_E, ids);
}

Tensor linear(const Tensor& x, const Tensor& W, const Tensor& b, Precision precision, const Tensor& residual) {
  return fusable(x) && fusable(W) ? fused::linear(x, W, b, precision, residual) : reference::linear(x, W, b, precision, residual);
}

std::vector<Tensor> linear_many(const Tensor& x, std::span<const Tensor> W, std::span<const Tensor> b, Precision precision) {
  assert(W.size() == b.size());
  if (!fusable(x) || !fusable(W[0])) return reference::linear_many(x, W, b, precision);
  std::vector<Tensor> outputs;
  for (std::size_t i = 0; i < W.size(); ++i) outputs.push_back(linear(x, W[i], b[i], precision));
  return outputs;
}

Tensor rms_norm(const Tensor& x, const Tensor& w, double eps) {
  return fusable(x) ? fused::norm(Norm::rms, x, w, {}, eps) : reference::rms_norm(x, w, eps);
}

Tensor layer_norm(const Tensor& x, const Tensor& w, const Tensor& b, double eps) {
  return fusable(x) ? fused::norm(Norm::layer, x, w, b, eps) : reference::layer_norm(x, w, b, eps);
}

RopeTable rope_table(const ModelConfig& config, std::int64_t n_positions) {
  std::vector<std::int32_t> positions(static_cast<std::size_t>(n_positions));
  std::iota(positions.begin(), positions.end(), 0);
  return rope_table(config, positions);
}

RopeTable rope_table(const ModelConfig& config, std::span<const std::int32_t> positions) {
  const auto& rope = config.rope;
  const auto rotated = static_cast<std::int64_t>(std::llround(rope.fraction * static_cast<double>(config.d_head)));
  const auto half = rotated / 2;
  std::vector<double> frequency(static_cast<std::size_t>(half));
  for (std::int64_t i = 0; i < half; ++i) {
    double f = std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(rotated));
    if (rope.scaling == "linear") f /= rope.factor;
    if (rope.scaling == "llama3") {
      // Long wavelengths are stretched by `factor`, short ones kept, those between blended linearly (Llama 3.1's reference code).
      const double wavelength = 2 * std::numbers::pi / f, context = static_cast<double>(rope.original_n_ctx);
      const double blend = (context / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      if (wavelength > context / rope.low_freq_factor)
        f /= rope.factor;
      else if (wavelength >= context / rope.high_freq_factor)
        f = (1 - blend) * f / rope.factor + blend * f;
    }
    frequency[static_cast<std::size_t>(i)] = f;
  }
  const auto n = static_cast<std::int64_t>(positions.size());
  RopeTable table{at::empty({n, half}, at::kDouble), at::empty({n, half}, at::kDouble)};
  double* cos = table.cos.data_ptr<double>();
  double* sin = table.sin.data_ptr<double>();
  for (std::int64_t p = 0; p < n; ++p) {
    for (std::int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(positions[static_cast<std::size_t>(p)]) * frequency[static_cast<std::size_t>(i)];
      cos[p * half + i] = std::cos(angle);
      sin[p * half + i] = std::sin(angle);
    }
  }
  return table;
}

Tensor rope(const Tensor& x, const RopeTable& rows) { return reference::rope(x, rows); }

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const std::int64_t> offsets, Scores scores,
                 Precision precision) {
  return reference::attention(q, k, v, offsets, scores, precision);
}

Tensor gated_activation(const Tensor& gate, const Tensor& up, Activation kind) { return reference::gated_activation(gate, up, kind); }

Tensor activation(const Tensor& x, Activation kind) { return reference::activation(x, kind); }

Tensor token_logprobs(const Tensor& hidden, const Tensor& W_U, std::span<const std::int32_t> targets, Precision precision) {
  return fusable(hidden) ? fused::token_logprobs(hidden, W_U, targets, precision)
                         : reference::token_logprobs(hidden, W_U, targets, precision);
}

Tensor weighted_cross_entropy(const Tensor& hidden, const Tensor& W_U, std::span<const std::int32_t> targets,
                              std::span<const float> weights, Precision precision) {
  return fusable(hidden) ? fused::weighted_cross_entropy(hidden, W_U, targets, weights, precision)
                         : reference::weighted_cross_entropy(hidden, W_U, targets, weights, precision);
}

}  // namespace assay::ops
