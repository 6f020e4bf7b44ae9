#pragma once
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "assay/tensor/tensor.h"

/// Data-dependent masks on gradients, as a forward pass takes them (ForwardOptions::masks). A mask is never a tensor [tokens, units]: each
/// token stores the number of a row, each place a small table of rows. The routing room makes them from plans; the exact definitions stand
/// in docs/guide/routing.md.
namespace assay {

/// The row that each token of a batch takes from every table: row[t], or mixed, weight[t] * row[t] + (1 - weight[t]) * other[t].
struct TokenRows {
  std::vector<std::int32_t> row;
  std::vector<std::int32_t> other;  ///< empty = nothing is mixed
  std::vector<float> weight;
};

/// Factors by row number and unit.
class MaskTable {
 public:
  explicit MaskTable(const Tensor& factors);  ///< [rows, units]
  [[nodiscard]] const Tensor& factors() const { return factors_; }
  [[nodiscard]] std::int64_t rows() const { return factors_.size(0); }
  [[nodiscard]] std::int64_t units() const { return factors_.size(1); }
  [[nodiscard]] const float* row(std::int32_t r) const { return data_ + r * units(); }
  /// The columns of a row outside of which it is 1: begin, end; equal where the row changes nothing.
  [[nodiscard]] std::pair<std::int64_t, std::int64_t> changed(std::int32_t r) const { return changed_[static_cast<std::size_t>(r)]; }

 private:
  Tensor factors_;  // f32, contiguous, CPU
  const float* data_;
  std::vector<std::pair<std::int64_t, std::int64_t>> changed_;
};
using MaskTablePtr = std::shared_ptr<const MaskTable>;

/// Tables of one block; null = ones.
struct LayerMasks {
  // Activation masks v' = m v + (1 - m) stopgrad(v): factors of the gradient that arrives at a hook point. Units: the value's columns (z:
  // n_heads * d_head).
  MaskTablePtr z, attn_out, resid_mid, post, mlp_out, resid_post;
  // Forward gates v' = g v, in both directions.
  MaskTablePtr z_gate, post_gate;
  // Exact parameter masks, by use of a token: factors of a token's part in the gradient of parameters; what goes on to activations stays as
  // it is.
  MaskTablePtr ln1;     ///< [rows, d_model]
  MaskTablePtr qkv;     ///< rows of W_Q, W_K, W_V and their biases: [rows, (n_heads + 2 n_kv_heads) * d_head]
  MaskTablePtr W_O;     ///< columns of W_O: [rows, n_heads * d_head]
  MaskTablePtr b_O;     ///< [rows, d_model]
  MaskTablePtr ln2;     ///< [rows, d_model]
  MaskTablePtr mlp_in;  ///< rows of W_gate and W_in (or of W_in alone) and their biases: [rows, 2 d_mlp or d_mlp]
  MaskTablePtr W_out;   ///< columns of W_out: [rows, d_mlp]
  MaskTablePtr b_out;   ///< [rows, d_model]
};

struct MaskTables {
  std::vector<LayerMasks> layers;
  // Exact masks of what belongs to no block.
  MaskTablePtr embed, pos_embed, ln_final;  ///< [rows, d_model]
  MaskTablePtr unembed;                     ///< rows of hidden in dW_U: [rows, d_model]
};

/// What one pass is masked with. Held by the nodes of its graph as long as they need it.
struct GradientMasks {
  std::shared_ptr<const MaskTables> tables;
  std::shared_ptr<const TokenRows> rows;
  /// By block: this times sign(mlp.hook_post) joins the gradient behind the mask `post`, as that of an L1 penalty which is not routed;
  /// empty = nowhere.
  std::vector<float> post_l1 = {};
};

/// The factors of each token at one place; empty = ones.
struct RowScale {
  std::shared_ptr<const TokenRows> rows;
  MaskTablePtr table;

  explicit operator bool() const { return table != nullptr; }
  /// Does the token's row differ from ones?
  [[nodiscard]] bool changes(std::int64_t token) const;
  /// All factors as [n_tokens, units]: for the composed path and for tests.
  [[nodiscard]] Tensor dense() const;
};

/// Throws an Error unless rows and tables fit a batch of n_tokens tokens and a model with n_layers blocks.
void check_masks(const GradientMasks& masks, std::int64_t n_tokens, std::int64_t n_layers);

}  // namespace assay
