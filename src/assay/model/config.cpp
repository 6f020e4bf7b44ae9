#include "assay/model/config.h"

#include <cmath>

#include "assay/base/error.h"

namespace assay {
namespace {

std::optional<std::int64_t> optional_id(const Json& hf, std::string_view key, std::string_view where) {
  const auto it = hf.find(std::string(key));
  if (it == hf.end() || it->is_null()) return std::nullopt;
  return require<std::int64_t>(hf, key, where);
}

/// rope_parameters (transformers 5) or rope_theta with rope_scaling (4 and older).
RopeConfig rope_from_hf(const Json& hf, std::string_view where) {
  RopeConfig rope;
  rope.theta = value_or<double>(hf, "rope_theta", 10000.0, where);
  Json scaling = value_or<Json>(hf, "rope_parameters", Json(nullptr), where);
  if (scaling.is_null()) scaling = value_or<Json>(hf, "rope_scaling", Json(nullptr), where);
  if (scaling.is_null()) return rope;
  rope.theta = value_or<double>(scaling, "rope_theta", rope.theta, where);
  rope.fraction = value_or<double>(scaling, "partial_rotary_factor", value_or<double>(hf, "partial_rotary_factor", 1.0, where), where);
  std::string type = value_or<std::string>(scaling, "rope_type", value_or<std::string>(scaling, "type", "default", where), where);
  if (type == "default") return rope;
  if (type != "linear" && type != "llama3")
    throw Error("model config", std::string(where) + ": rope scaling '" + type + "' is not supported; expected default, linear or llama3");
  rope.scaling = type;
  rope.factor = require<double>(scaling, "factor", where);
  if (type == "llama3") {
    rope.low_freq_factor = require<double>(scaling, "low_freq_factor", where);
    rope.high_freq_factor = require<double>(scaling, "high_freq_factor", where);
    rope.original_n_ctx = require<std::int64_t>(scaling, "original_max_position_embeddings", where);
  }
  return rope;
}

Activation activation_from_hf(const std::string& name, std::string_view where) {
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  if (name == "relu") return Activation::relu;
  throw Error("model config", std::string(where) + ": hidden_act '" + name + "' is not supported; expected silu, gelu, gelu_new or relu");
}

std::string activation_to_hf(Activation activation) {
  switch (activation) {
    case Activation::silu:
      return "silu";
    case Activation::gelu:
      return "gelu";
    case Activation::gelu_tanh:
      return "gelu_pytorch_tanh";
    case Activation::relu:
      return "relu";
  }
  return "silu";
}

}  // namespace

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

ModelConfig config_from_hf(const Json& hf, std::string_view where) {
  const auto type = require<std::string>(hf, "model_type", where);
  if (type != "llama") throw Error("model config", std::string(where) + ": model_type '" + type + "' is not supported yet; expected llama");
  ModelConfig c;
  c.family = type;
  c.n_layers = require<std::int64_t>(hf, "num_hidden_layers", where);
  c.d_model = require<std::int64_t>(hf, "hidden_size", where);
  c.n_heads = require<std::int64_t>(hf, "num_attention_heads", where);
  c.n_kv_heads = value_or<std::int64_t>(hf, "num_key_value_heads", c.n_heads, where);
  c.d_head = value_or<std::int64_t>(hf, "head_dim", c.n_heads > 0 ? c.d_model / c.n_heads : 0, where);
  c.d_mlp = require<std::int64_t>(hf, "intermediate_size", where);
  c.d_vocab = require<std::int64_t>(hf, "vocab_size", where);
  c.n_ctx = value_or<std::int64_t>(hf, "max_position_embeddings", 2048, where);
  c.norm_eps = value_or<double>(hf, "rms_norm_eps", 1e-6, where);
  c.activation = activation_from_hf(value_or<std::string>(hf, "hidden_act", "silu", where), where);
  c.tied_embeddings = value_or<bool>(hf, "tie_word_embeddings", false, where);
  c.attn_bias = value_or<bool>(hf, "attention_bias", false, where);
  c.attn_out_bias = c.attn_bias;
  c.mlp_bias = value_or<bool>(hf, "mlp_bias", false, where);
  c.initializer_range = value_or<double>(hf, "initializer_range", 0.02, where);
  c.rope = rope_from_hf(hf, where);
  c.bos_id = optional_id(hf, "bos_token_id", where);
  c.pad_id = optional_id(hf, "pad_token_id", where);
  if (const auto it = hf.find("eos_token_id"); it != hf.end() && it->is_array())
    c.eos_ids = require<std::vector<std::int64_t>>(hf, "eos_token_id", where);
  else if (const auto id = optional_id(hf, "eos_token_id", where))
    c.eos_ids = {*id};
  try {
    c.validate();
  } catch (const Error& e) {
    throw Error("model config", std::string(where) + ": " + e.message());
  }
  return c;
}

Json config_to_hf(const ModelConfig& c) {
  Json rope = {{"rope_theta", c.rope.theta}, {"rope_type", c.rope.scaling == "none" ? "default" : c.rope.scaling}};
  if (c.rope.scaling != "none") rope["factor"] = c.rope.factor;
  if (c.rope.scaling == "llama3") {
    rope["low_freq_factor"] = c.rope.low_freq_factor;
    rope["high_freq_factor"] = c.rope.high_freq_factor;
    rope["original_max_position_embeddings"] = c.rope.original_n_ctx;
  }
  Json hf = {{"architectures", {"LlamaForCausalLM"}},
             {"model_type", c.family},
             {"vocab_size", c.d_vocab},
             {"hidden_size", c.d_model},
             {"intermediate_size", c.d_mlp},
             {"num_hidden_layers", c.n_layers},
             {"num_attention_heads", c.n_heads},
             {"num_key_value_heads", c.n_kv_heads},
             {"head_dim", c.d_head},
             {"hidden_act", activation_to_hf(c.activation)},
             {"max_position_embeddings", c.n_ctx},
             {"initializer_range", c.initializer_range},
             {"rms_norm_eps", c.norm_eps},
             {"tie_word_embeddings", c.tied_embeddings},
             {"attention_bias", c.attn_bias},
             {"attention_dropout", 0.0},
             {"mlp_bias", c.mlp_bias},
             {"use_cache", true},
             {"rope_theta", c.rope.theta},
             {"rope_parameters", rope}};
  if (c.rope.scaling != "none") hf["rope_scaling"] = rope;
  hf["bos_token_id"] = c.bos_id ? Json(*c.bos_id) : Json(nullptr);
  hf["eos_token_id"] = c.eos_ids.empty() ? Json(nullptr) : c.eos_ids.size() == 1 ? Json(c.eos_ids[0]) : Json(c.eos_ids);
  if (c.pad_id) hf["pad_token_id"] = *c.pad_id;
  return hf;
}

}  // namespace assay
