#include "assay/model/families/config_keys.h"

#include "assay/base/error.h"

namespace assay::families {

void read_special_ids(ModelConfig& config, const Json& hf, std::string_view where, std::int64_t absent) {
  const auto id = [&](const char* key, std::int64_t fallback) -> std::optional<std::int64_t> {
    const auto it = hf.find(key);
    if (it == hf.end() && fallback >= 0 && fallback < config.d_vocab) return fallback;
    if (it == hf.end() || it->is_null()) return std::nullopt;
    return require<std::int64_t>(hf, key, where);
  };
  config.bos_id = id("bos_token_id", absent);
  config.pad_id = id("pad_token_id", -1);
  if (const auto it = hf.find("eos_token_id"); it != hf.end() && it->is_array())
    config.eos_ids = require<std::vector<std::int64_t>>(hf, "eos_token_id", where);
  else if (const auto eos = id("eos_token_id", absent))
    config.eos_ids = {*eos};
}

void write_special_ids(const ModelConfig& config, Json& hf) {
  const auto& eos = config.eos_ids;
  hf["bos_token_id"] = config.bos_id ? Json(*config.bos_id) : Json(nullptr);
  hf["eos_token_id"] = eos.empty() ? Json(nullptr) : eos.size() == 1 ? Json(eos[0]) : Json(eos);
  if (config.pad_id) hf["pad_token_id"] = *config.pad_id;
}

Activation read_activation(const Json& hf, std::string_view key, std::string_view fallback, std::string_view where) {
  const auto name = value_or<std::string>(hf, key, std::string(fallback), where);
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  if (name == "relu") return Activation::relu;
  throw Error("model config",
              std::string(where) + ": " + std::string(key) + " '" + name + "' is not supported; expected silu, gelu, gelu_new or relu");
}

std::string activation_name(Activation activation, std::string_view tanh_name) {
  switch (activation) {
    case Activation::silu:
      return "silu";
    case Activation::gelu:
      return "gelu";
    case Activation::gelu_tanh:
      return std::string(tanh_name);
    case Activation::relu:
      return "relu";
  }
  return "silu";
}

RopeConfig read_rope(const Json& hf, std::string_view where) {
  RopeConfig rope;
  rope.theta = value_or<double>(hf, "rope_theta", 10000.0, where);
  Json scaling = value_or<Json>(hf, "rope_parameters", Json(nullptr), where);
  if (scaling.is_null()) scaling = value_or<Json>(hf, "rope_scaling", Json(nullptr), where);
  if (scaling.is_null()) return rope;
  if (!scaling.is_object())
    throw Error("model config", std::string(where) + ": rope_parameters (or rope_scaling) must be an object, found " + scaling.type_name());
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

void write_rope(const RopeConfig& rope, Json& hf) {
  Json parameters = {{"rope_theta", rope.theta}, {"rope_type", rope.scaling == "none" ? "default" : rope.scaling}};
  if (rope.scaling != "none") parameters["factor"] = rope.factor;
  if (rope.scaling == "llama3") {
    parameters["low_freq_factor"] = rope.low_freq_factor;
    parameters["high_freq_factor"] = rope.high_freq_factor;
    parameters["original_max_position_embeddings"] = rope.original_n_ctx;
  }
  hf["rope_theta"] = rope.theta;
  hf["rope_parameters"] = parameters;
  if (rope.scaling != "none") hf["rope_scaling"] = parameters;
}

std::int64_t even_heads(const ModelConfig& config, std::string_view where) {
  if (config.n_heads < 1 || config.d_model % config.n_heads != 0)
    throw Error("model config", std::string(where) + ": a width of " + std::to_string(config.d_model) + " does not divide into " +
                                    std::to_string(config.n_heads) + " heads");
  return config.d_model / config.n_heads;
}

void refuse_unless(const Json& hf, std::string_view key, bool expected, std::string_view where) {
  if (value_or<bool>(hf, key, expected, where) != expected)
    throw Error("model config", std::string(where) + ": " + std::string(key) + " = " + (expected ? "false" : "true") + " is not supported");
}

}  // namespace assay::families
