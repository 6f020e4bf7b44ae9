#include "assay/model/config.h"

#include <algorithm>
#include <cmath>

#include "assay/base/error.h"
#include "assay/model/families/family.h"

namespace assay {
void ModelConfig::validate() const {
  std::string faults;
  const auto fault = [&](const std::string& text) { faults += (faults.empty() ? "" : "; ") + text; };
  for (const auto& [name, value] : std::initializer_list<std::pair<const char*, std::int64_t>>{{"n_layers", n_layers},
                                                                                               {"d_model", d_model},
                                                                                               {"n_heads", n_heads},
                                                                                               {"n_kv_heads", n_kv_heads},
                                                                                               {"d_head", d_head},
                                                                                               {"d_mlp", d_mlp},
                                                                                               {"d_vocab", d_vocab},
                                                                                               {"n_ctx", n_ctx}})
    if (value < 1 || value > (std::string_view(name) == "n_layers" ? 1 << 14 : std::int64_t{1} << 31))
      fault(std::string(name) + " is " + std::to_string(value));
  if (n_heads > 0 && n_kv_heads > 0 && n_heads % n_kv_heads != 0)
    fault("n_heads " + std::to_string(n_heads) + " is no multiple of n_kv_heads " + std::to_string(n_kv_heads));
  if (positions == Positions::rope && d_head % 2 != 0) fault("d_head " + std::to_string(d_head) + " is odd; rotary positions need pairs");
  if (!(norm_eps > 0) || !std::isfinite(norm_eps)) fault("norm_eps must be above 0");
  if (positions == Positions::rope && !(rope.theta > 0)) fault("rope theta must be above 0");
  if (attn_scale && !(std::isfinite(*attn_scale) && *attn_scale > 0)) fault("the scale of attention must be above 0");
  if (!windows.empty() && static_cast<std::int64_t>(windows.size()) != n_layers)
    fault(std::to_string(windows.size()) + " attention windows for " + std::to_string(n_layers) + " layers");
  if (std::any_of(windows.begin(), windows.end(), [](std::int64_t w) { return w < 0; })) fault("an attention window is below 0");
  if (rope.scaling != "none" && !(rope.factor > 0)) fault("rope factor must be above 0");
  if (!faults.empty()) throw Error("model config", faults);
}

std::int64_t ModelConfig::parameters() const {
  const std::int64_t q = n_heads * d_head, kv = n_kv_heads * d_head;
  std::int64_t block =
      d_model * (q + 2 * kv) + q * d_model + (gated_mlp ? 3 : 2) * d_model * d_mlp + 2 * d_model * (norm == Norm::layer ? 2 : 1);
  if (attn_bias) block += q + 2 * kv;
  if (attn_out_bias) block += d_model;
  if (mlp_bias) block += d_mlp * (gated_mlp ? 2 : 1) + d_model;
  std::int64_t total = d_vocab * d_model * (tied_embeddings ? 1 : 2) + n_layers * block + d_model * (norm == Norm::layer ? 2 : 1);
  if (positions == Positions::learned) total += n_ctx * d_model;
  return total;
}

double ModelConfig::score_scale() const { return attn_scale.value_or(1.0 / std::sqrt(static_cast<double>(d_head))); }

std::int64_t ModelConfig::window(std::int64_t layer) const { return windows.empty() ? 0 : windows[static_cast<std::size_t>(layer)]; }

ModelConfig config_from_hf(const Json& hf, std::string_view where) {
  ModelConfig c = family(require<std::string>(hf, "model_type", where), where).config(hf, where);
  try {
    c.validate();
  } catch (const Error& e) {
    throw Error("model config", std::string(where) + ": " + e.message());
  }
  return c;
}

Json config_to_hf(const ModelConfig& c) {
  const Family& f = family(c.family, "model save");
  Json hf = f.to_hf(c);
  if (f.config(hf, "model save") != c)
    throw Error("model config", "a config.json of the family " + c.family + " cannot say all that this model's options say");
  return hf;
}

}  // namespace assay
