#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/model/activation.h"

namespace assay {

enum class Norm { rms, layer };
enum class Positions { rope, learned, none };

/// Rotary positions (Su et al. 2021), half-split layout as in transformers.
struct RopeConfig {
  double theta = 10000.0;
  double fraction = 1.0;         ///< share of d_head that is rotated (GPT-NeoX)
  std::string scaling = "none";  ///< none, linear, llama3
  double factor = 1.0, low_freq_factor = 1.0, high_freq_factor = 4.0;
  std::int64_t original_n_ctx = 8192;

  bool operator==(const RopeConfig&) const = default;
};

/// Everything that tells one decoder from another. Names as in TransformerLens.
struct ModelConfig {
  std::string family = "llama";
  std::int64_t n_layers = 0, d_model = 0, n_heads = 0, n_kv_heads = 0, d_head = 0, d_mlp = 0, d_vocab = 0, n_ctx = 0;
  Norm norm = Norm::rms;
  double norm_eps = 1e-5;
  Activation activation = Activation::silu;
  bool gated_mlp = true;  ///< W_gate and W_in, or W_in alone
  Positions positions = Positions::rope;
  RopeConfig rope;
  std::optional<double> attn_scale;   ///< of the scores; none: 1 / sqrt(d_head)
  std::vector<std::int64_t> windows;  ///< of each layer: a token sees itself and the window - 1 before it, 0 = all; empty: all 0
  bool tied_embeddings = false;
  bool attn_bias = false, attn_out_bias = false, mlp_bias = false;
  double initializer_range = 0.02;
  std::optional<std::int64_t> bos_id, pad_id;
  std::vector<std::int64_t> eos_ids;

  /// Throws one Error that lists every fault.
  void validate() const;
  [[nodiscard]] std::int64_t parameters() const;
  [[nodiscard]] double score_scale() const;
  [[nodiscard]] std::int64_t window(std::int64_t layer) const;
  bool operator==(const ModelConfig&) const = default;
};

/// From a Hugging Face config.json (today's keys and the older ones); an unsupported architecture or option is an Error that names it.
ModelConfig config_from_hf(const Json& hf, std::string_view where);
/// config.json as transformers reads it; an Error where the family's has no words for an option that is set.
Json config_to_hf(const ModelConfig& config);

}  // namespace assay
