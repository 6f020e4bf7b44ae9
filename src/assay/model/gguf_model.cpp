#include "assay/model/gguf_model.h"

#include "assay/base/error.h"
#include "assay/model/families/llama.h"
#include "assay/text/gguf_tokenizer.h"

namespace assay {
namespace {

/// ggml stores Q and K so that rotary pairs lie side by side; Hugging Face has them half a head apart.
/// [heads, d_head/2, 2, in] -> [heads, 2, d_head/2, in]
Tensor half_split(const Tensor& w, std::int64_t heads) {
  return w.view({heads, w.size(0) / heads / 2, 2, w.size(1)}).transpose(1, 2).contiguous().view({w.size(0), w.size(1)});
}

std::string ggml_name(const std::string& hf) {
  if (hf == "model.embed_tokens.weight") return "token_embd.weight";
  if (hf == "model.norm.weight") return "output_norm.weight";
  if (hf == "lm_head.weight") return "output.weight";
  const std::string rest = hf.substr(std::string("model.layers.").size());
  const auto dot = rest.find('.');
  const std::string part = rest.substr(dot + 1), block = "blk." + rest.substr(0, dot) + ".";
  static constexpr std::pair<std::string_view, std::string_view> kNames[] = {
      {"input_layernorm.weight", "attn_norm.weight"},         {"self_attn.q_proj.weight", "attn_q.weight"}, {"self_attn.k_proj.weight", "attn_k.weight"},
      {"self_attn.v_proj.weight", "attn_v.weight"},           {"self_attn.o_proj.weight", "attn_output.weight"}, {"post_attention_layernorm.weight", "ffn_norm.weight"},
      {"mlp.gate_proj.weight", "ffn_gate.weight"},            {"mlp.up_proj.weight", "ffn_up.weight"},      {"mlp.down_proj.weight", "ffn_down.weight"}};
  for (const auto& [from, to] : kNames)
    if (part == from) return block + std::string(to);
  return block + part;
}

ModelConfig config_from_gguf(const GgufFile& file, const std::string& where) {
  const Json& meta = file.metadata();
  const auto architecture = require<std::string>(meta, "general.architecture", where);
  if (architecture != "llama") throw Error("model load", where + ": architecture '" + architecture + "' is not supported yet; expected llama");
  if (file.has("rope_freqs.weight")) throw Error("model load", where + ": rotary frequencies of its own (rope_freqs.weight) are not supported");
  const auto whole = [&](const char* key) { return require<std::int64_t>(meta, std::string("llama.") + key, where); };
  ModelConfig c;
  c.n_layers = whole("block_count");
  c.d_model = whole("embedding_length");
  c.n_heads = whole("attention.head_count");
  c.n_kv_heads = value_or<std::int64_t>(meta, "llama.attention.head_count_kv", c.n_heads, where);
  c.d_head = value_or<std::int64_t>(meta, "llama.attention.key_length", c.n_heads > 0 ? c.d_model / c.n_heads : 0, where);
  c.d_mlp = whole("feed_forward_length");
  c.n_ctx = whole("context_length");
  c.norm_eps = require<double>(meta, "llama.attention.layer_norm_rms_epsilon", where);
  c.rope.theta = value_or<double>(meta, "llama.rope.freq_base", 10000.0, where);
  if (const auto scaling = value_or<std::string>(meta, "llama.rope.scaling.type", "none", where); scaling == "linear") {
    c.rope.scaling = "linear";
    c.rope.factor = require<double>(meta, "llama.rope.scaling.factor", where);
  } else if (scaling != "none") {
    throw Error("model load", where + ": rope scaling '" + scaling + "' is not supported; expected none or linear");
  }
  c.tied_embeddings = !file.has("output.weight");
  const auto embedding = file.entries().find("token_embd.weight");
  if (embedding == file.entries().end() || embedding->second.shape.size() != 2) throw Error("model load", where + " holds no matrix token_embd.weight");
  c.d_vocab = embedding->second.shape[0];
  if (meta.contains("tokenizer.ggml.bos_token_id")) c.bos_id = require<std::int64_t>(meta, "tokenizer.ggml.bos_token_id", where);
  if (meta.contains("tokenizer.ggml.padding_token_id")) c.pad_id = require<std::int64_t>(meta, "tokenizer.ggml.padding_token_id", where);
  if (meta.contains("tokenizer.ggml.eos_token_id")) c.eos_ids = {require<std::int64_t>(meta, "tokenizer.ggml.eos_token_id", where)};
  try {
    c.validate();
  } catch (const Error& e) {
    throw Error("model load", where + ": " + e.message());
  }
  return c;
}

Transformer transformer_of(const GgufFile& file, const std::string& where) {
  Transformer model{config_from_gguf(file, where), {}};
  model.weights.blocks.resize(static_cast<std::size_t>(model.config.n_layers));
  for (const llama::Slot& slot : llama::slots(model.config, model.weights)) {
    Tensor t = file.tensor(ggml_name(slot.name));
    if (t.sizes() != at::IntArrayRef(slot.shape)) throw Error("model load", where + ": tensor '" + ggml_name(slot.name) + "' has another shape than the metadata ask for");
    if (slot.name.ends_with("q_proj.weight")) t = half_split(t, model.config.n_heads);
    if (slot.name.ends_with("k_proj.weight")) t = half_split(t, model.config.n_kv_heads);
    *slot.tensor = std::move(t);
  }
  if (model.config.tied_embeddings) model.weights.W_U = model.weights.W_E;
  return model;
}

}  // namespace

Transformer transformer_from_gguf(const GgufFile& file) { return transformer_of(file, "the GGUF file"); }

LanguageModel language_model_from_gguf(const std::filesystem::path& path) {
  const GgufFile file(path);
  const Json& meta = file.metadata();
  const std::string where = path.string();
  LanguageModel model{transformer_of(file, where), Tokenizer::from_json(tokenizer_json_from_gguf(meta), where), std::nullopt, Json::object(), where};
  if (const auto source = value_or<std::string>(meta, "tokenizer.chat_template", "", where); !source.empty()) {
    const Json tokens = require<Json>(meta, "tokenizer.ggml.tokens", where);
    const auto token = [&](const char* key) -> std::string {
      const auto it = meta.find(std::string("tokenizer.ggml.") + key);
      if (it == meta.end() || !it->is_number_unsigned() || it->get<std::size_t>() >= tokens.size() || !tokens[it->get<std::size_t>()].is_string()) return {};
      return tokens[it->get<std::size_t>()].get<std::string>();
    };
    model.chat_template.emplace(source, SpecialTokens{token("bos_token_id"), token("eos_token_id"), token("padding_token_id"), token("unknown_token_id")});
  }
  return model;
}

}  // namespace assay
