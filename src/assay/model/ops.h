#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "assay/model/config.h"
#include "assay/tensor/tensor.h"

namespace assay {
enum class Precision;
}

/// The differentiable operations a forward pass is made of: each is one autograd node with a hand-written backward, fused CPU kernels in
/// f32 and bf16, and a composition of ATen operations for every other device and dtype (f64 on the CPU: the reference that the kernels are
/// tested against). n = tokens of the whole batch; sequences lie end to end, see TokenBatch.
namespace assay::ops {

/// Rows of W_E: ids [n] -> [n, d_model].
Tensor embed(const Tensor& W_E, std::span<const std::int32_t> ids);

/// x [n, in], W [out, in], b [out] or undefined, residual [n, out] or undefined -> x W^T + b + residual, f32.
Tensor linear(const Tensor& x, const Tensor& W, const Tensor& b, Precision precision, const Tensor& residual = {});
/// Several products of one input (Q, K, V; gate and up), which convert x once.
std::vector<Tensor> linear_many(const Tensor& x, std::span<const Tensor> W, std::span<const Tensor> b, Precision precision);

/// x / sqrt(mean(x^2) + eps) * w over the last axis (Zhang & Sennrich 2019).
Tensor rms_norm(const Tensor& x, const Tensor& w, double eps);
/// Layer norm (Ba et al. 2016); b may be undefined.
Tensor layer_norm(const Tensor& x, const Tensor& w, const Tensor& b, double eps);

/// cos and sin of positions, [n, rotated/2] f64 each, with the config's scaling applied.
struct RopeTable {
  Tensor cos, sin;
};
/// Of positions 0 .. n_positions - 1.
RopeTable rope_table(const ModelConfig& config, std::int64_t n_positions);
/// Of the positions [n] of tokens.
RopeTable rope_table(const ModelConfig& config, std::span<const std::int32_t> positions);
/// x [n, heads, d_head], rotated in the half-split layout; row i of the table belongs to token i.
Tensor rope(const Tensor& x, const RopeTable& rows);

/// What happens to q . k on the way to the softmax: times `scale`; with a window, a token sees itself and the window - 1 before it (0 = all
/// before it).
struct Scores {
  double scale = 1;
  std::int64_t window = 0;
};
/// Causal attention inside each sequence. q [n, n_heads, d_head], k and v [n, n_kv_heads, d_head] -> [n, n_heads, d_head]; query heads
/// share kv heads in groups.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const std::int64_t> offsets, Scores scores,
                 Precision precision);

/// act(gate) * up, elementwise.
Tensor gated_activation(const Tensor& gate, const Tensor& up, Activation activation);
Tensor activation(const Tensor& x, Activation activation);

/// log p(target) of each row of hidden [n, d_model] under softmax(hidden W_U^T), in chunks -> [n].
Tensor token_logprobs(const Tensor& hidden, const Tensor& W_U, std::span<const std::int32_t> targets, Precision precision);
/// Sum of weight * cross entropy -> scalar. Rows of weight 0 are left out of every product.
Tensor weighted_cross_entropy(const Tensor& hidden, const Tensor& W_U, std::span<const std::int32_t> targets,
                              std::span<const float> weights, Precision precision);

}  // namespace assay::ops
