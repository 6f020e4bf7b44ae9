#include "assay/model/gguf_model.h"

#include <ATen/core/Tensor.h>

#include <cmath>
#include <numbers>

#include "assay/base/error.h"
#include "assay/model/families/llama.h"
#include "assay/model/stored_weights.h"
#include "assay/text/gguf_tokenizer.h"

namespace assay {
namespace {

/// Hugging Face's name -> ggml's ("model.layers.3.mlp.up_proj.weight" -> "blk.3.ffn_up.weight").
std::string ggml_name(const std::string& hf) {
  static constexpr std::pair<std::string_view, std::string_view> kParts[] = {
      {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"},       {"lm_head", "output"},
      {"input_layernorm", "attn_norm"},     {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},       {"self_attn.o_proj", "attn_output"}, {"post_attention_layernorm", "ffn_norm"},
      {"mlp.gate_proj", "ffn_gate"},        {"mlp.up_proj", "ffn_up"},           {"mlp.down_proj", "ffn_down"},
  };
  constexpr std::string_view kLayers = "model.layers.";
  std::string block, rest = hf;
  if (hf.starts_with(kLayers)) {
    const auto dot = hf.find('.', kLayers.size());
    block = "blk." + hf.substr(kLayers.size(), dot - kLayers.size()) + ".";
    rest = hf.substr(dot + 1);
  }
  for (const auto& [theirs, ours] : kParts)
    if (rest.starts_with(theirs) && rest[theirs.size()] == '.') return block + std::string(ours) + rest.substr(theirs.size());
  return hf;
}

/// rope_freqs.weight holds what llama3's scaling divides each frequency by; the parameters of the formula are not stored. All published
/// models use low 1, high 4, 8192: the factor is then the largest entry, and the rest has to agree.
void read_llama3_scaling(RopeConfig& rope, const Tensor& factors, std::int64_t d_head, const std::string& where) {
  rope.scaling = "llama3";
  rope.factor = factors.max().item<double>();
  for (std::int64_t i = 0; i < factors.numel(); ++i) {
    const double wavelength = 2 * std::numbers::pi * std::pow(rope.theta, 2.0 * static_cast<double>(i) / static_cast<double>(d_head));
    const double ratio = static_cast<double>(rope.original_n_ctx) / wavelength;
    double expected = 1;
    if (ratio < rope.low_freq_factor)
      expected = rope.factor;
    else if (ratio < rope.high_freq_factor) {
      const double smooth = (ratio - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      expected = 1 / ((1 - smooth) / rope.factor + smooth);
    }
    if (factors.numel() != d_head / 2 || std::abs(factors[i].item<double>() - expected) > 1e-3 * expected)
      throw Error("model load", where + ": rope_freqs.weight does not follow llama3's rule for 8192 positions",
                  "convert from the Hugging Face folder instead");
  }
}

}  // namespace

ModelConfig config_from_gguf(const GgufFile& file) {
  const std::string where = file.path().string();
  const Json& meta = file.metadata();
  const auto architecture = require<std::string>(meta, "general.architecture", where);
  if (architecture != "llama")
    throw Error("model config", where + ": architecture '" + architecture + "' is not supported in GGUF files; expected llama",
                "use the model's Hugging Face folder");
  const auto whole = [&](const char* key) { return require<std::int64_t>(meta, std::string("llama.") + key, where); };
  ModelConfig c;
  c.n_layers = whole("block_count");
  c.n_ctx = whole("context_length");
  c.d_model = whole("embedding_length");
  c.d_mlp = whole("feed_forward_length");
  c.n_heads = whole("attention.head_count");
  c.n_kv_heads = value_or<std::int64_t>(meta, "llama.attention.head_count_kv", c.n_heads, where);
  c.d_head = value_or<std::int64_t>(meta, "llama.attention.key_length", c.n_heads > 0 ? c.d_model / c.n_heads : 0, where);
  c.norm_eps = require<double>(meta, "llama.attention.layer_norm_rms_epsilon", where);
  c.rope.theta = value_or<double>(meta, "llama.rope.freq_base", 10000.0, where);
  if (const auto rotated = value_or<std::int64_t>(meta, "llama.rope.dimension_count", c.d_head, where); rotated != c.d_head)
    throw Error("model config",
                where + ": llama.rope.dimension_count " + std::to_string(rotated) + " is not the head size " + std::to_string(c.d_head));
  if (value_or<std::int64_t>(meta, "llama.expert_count", 0, where) > 0)
    throw Error("model config", where + ": mixtures of experts are not supported");
  const auto scaling = value_or<std::string>(meta, "llama.rope.scaling.type", "none", where);
  if (scaling == "linear") {
    c.rope.scaling = scaling;
    c.rope.factor = require<double>(meta, "llama.rope.scaling.factor", where);
  } else if (scaling != "none") {
    throw Error("model config", where + ": rope scaling '" + scaling + "' is not supported in GGUF files; expected none or linear");
  }
  const auto embeddings = file.entries().find("token_embd.weight");
  if (embeddings == file.entries().end() || embeddings->second.shape.size() != 2)
    throw Error("model load", where + " lacks the tensor 'token_embd.weight'");
  c.d_vocab = embeddings->second.shape[0];
  c.tied_embeddings = !file.has("output.weight");
  c.attn_bias = file.has("blk.0.attn_q.bias");
  c.attn_out_bias = file.has("blk.0.attn_output.bias");
  c.mlp_bias = file.has("blk.0.ffn_up.bias");
  const auto id = [&](const char* key) -> std::optional<std::int64_t> {
    const auto it = meta.find(key);
    return it == meta.end() ? std::nullopt : std::optional(require<std::int64_t>(meta, key, where));
  };
  c.bos_id = id("tokenizer.ggml.bos_token_id");
  c.pad_id = id("tokenizer.ggml.padding_token_id");
  if (const auto eos = id("tokenizer.ggml.eos_token_id")) c.eos_ids = {*eos};
  if (file.has("rope_freqs.weight")) read_llama3_scaling(c.rope, file.tensor("rope_freqs.weight"), c.d_head, where);
  try {
    c.validate();
  } catch (const Error& e) {
    throw Error("model config", where + ": " + e.message());
  }
  return c;
}

Transformer transformer_from_gguf(const GgufFile& file) {
  const ModelConfig config = config_from_gguf(file);
  TensorSource source{file.path().string(), {}, {}};
  // The loader asks by Hugging Face name: what it will ask for is derived from the config, what is left over keeps ggml's name and is
  // refused there.
  std::set<std::string> ggml;
  for (const auto& [name, entry] : file.entries())
    if (name != "rope_freqs.weight") ggml.insert(name);
  Transformer names{config, {}};
  names.weights.blocks.resize(static_cast<std::size_t>(config.n_layers));
  names.each_parameter([&](const std::string& name, const Tensor&) {
    if (ggml.erase(ggml_name(name)) > 0) source.names.insert(name);
  });
  source.names.merge(ggml);
  source.get = [&](const std::string& name) {
    const Tensor stored = file.tensor(ggml_name(name));
    const bool q = name.find(".q_proj.") != std::string::npos, k = name.find(".k_proj.") != std::string::npos;
    const std::int64_t heads = q ? config.n_heads : config.n_kv_heads;
    if ((q || k) && stored.size(0) == heads * config.d_head) return families::half_split(stored, heads);
    return stored;
  };
  return transformer_from(config, source);
}

LanguageModel language_model_from_gguf(const GgufFile& file) {
  const std::string where = file.path().string();
  return {transformer_from_gguf(file), Tokenizer::from_json(tokenizer_json_from_gguf(file.metadata()), where),
          chat_template_from_gguf(file.metadata()), Json::object(), where};
}

}  // namespace assay
