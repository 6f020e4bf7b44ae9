#pragma once
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "assay/tensor/tensor.h"

namespace assay {

/// What is to happen at named places of one forward pass. Names are TransformerLens' ("blocks.3.hook_resid_post", "blocks.3.mlp.hook_post",
/// "blocks.3.attn.hook_z", "hook_embed", "ln_final.hook_normalized", ...); values are [n_tokens, ...] (attention: [n_tokens, n_heads,
/// d_head]; its hook_attn_scores and hook_pattern: [n_tokens, n_heads, longest sequence], keys counted inside each sequence, -inf and 0 at
/// those that the token does not see). Owned by whoever asks for the pass and given to that pass alone, so nothing has to be removed
/// afterwards.
class Hooks {
 public:
  /// Called with the value at the place; what it returns goes on (return the argument to leave it). Several on one place run in order of
  /// addition.
  using Replace = std::function<Tensor(const Tensor& value)>;
  void replace(std::string_view place, Replace function);
  /// A copy of the value is kept: captured(place).
  void read(std::string_view place);
  void add(std::string_view place, Tensor addend);
  /// The gradient that arrives at the value is multiplied by `factor` (broadcastable, for instance [n_tokens, 1]); forward bits do not
  /// change.
  void scale_gradient(std::string_view place, Tensor factor);

  /// For the model: is anything set at this place?
  [[nodiscard]] bool wants(std::string_view place) const;
  /// For the model: runs what is set, returns the value that goes on.
  [[nodiscard]] Tensor apply(std::string_view place, Tensor value) const;
  [[nodiscard]] const Tensor& captured(std::string_view place) const;
  /// Throws an Error for a place that does not exist in a model with `n_layers` blocks, listing what exists.
  void check_places(std::int64_t n_layers) const;

 private:
  std::map<std::string, std::vector<Replace>, std::less<>> actions_;
  mutable std::map<std::string, Tensor, std::less<>> captured_;
};

/// Every hook point of a model with `n_layers` blocks, in order of the forward pass.
std::vector<std::string> hook_points(std::int64_t n_layers);

}  // namespace assay
