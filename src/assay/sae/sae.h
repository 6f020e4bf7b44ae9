#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "assay/base/json.h"
#include "assay/tensor/tensor.h"

namespace assay {

/// What becomes of pre-activations: the k largest, those above 0, or those above a threshold of their own.
enum class SaeActivation { topk, relu, jumprelu };
std::string_view sae_activation_name(SaeActivation activation);

struct SaeConfig {
  std::int64_t d_in = 0, d_sae = 0;
  SaeActivation activation = SaeActivation::topk;
  std::int64_t k = 0;                ///< of topk
  bool apply_b_dec_to_input = true;  ///< the encoder sees x - b_dec
  std::string model_name, hook_name;
  std::int64_t context_size = 0;
  Json metadata = Json::object();  ///< further keys of SAELens' metadata

  /// Throws one Error that names what is wrong.
  void validate() const;
};

/// The latents that are active on each of n rows, rows end to end: those of row r are [offsets[r], offsets[r + 1]).
struct LatentCodes {
  std::vector<std::int64_t> offsets = {0};
  std::vector<std::int32_t> latents;
  std::vector<double> values;  ///< above 0
  [[nodiscard]] std::int64_t rows() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
};

/// A sparse autoencoder of what passes one hook point. A *latent* is a unit of it.
struct Sae {
  SaeConfig config;
  Tensor W_enc;      // [d_sae, d_in]: row j is what latent j reads (SAELens stores [d_in, d_sae])
  Tensor b_enc;      // [d_sae]
  Tensor W_dec;      // [d_sae, d_in]: row j is what latent j writes
  Tensor b_dec;      // [d_in]
  Tensor threshold;  // [d_sae], jumprelu only

  /// (x - b_dec) W_enc^T + b_enc of x [n, d_in] -> [n, d_sae].
  [[nodiscard]] Tensor pre_activations(const Tensor& x) const;
  [[nodiscard]] LatentCodes encode(const Tensor& x) const;
  /// -> [rows, d_in] in the weights' dtype.
  [[nodiscard]] Tensor decode(const LatentCodes& codes) const;
  [[nodiscard]] Tensor reconstruct(const Tensor& x) const { return decode(encode(x)); }
};

/// Indices of the k largest of n values, the largest first; of equal ones the earlier. `among` (n entries, or null): only those that are
/// not 0 there.
template <class T>
void top_k(const T* values, std::int64_t n, std::int64_t k, const std::uint8_t* among, std::vector<std::int32_t>& out);

}  // namespace assay
