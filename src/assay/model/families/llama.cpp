// Llama (and SmolLM2, TinyLlama, ...): rms norm, rotary positions, gated MLP, grouped heads.
#include "assay/model/families/llama.h"

#include "assay/model/families/config_keys.h"
#include "assay/model/families/family.h"

namespace assay::families {
namespace {

ModelConfig llama_defaults() { return {}; }

ModelConfig llama_config(const Json& hf, std::string_view where) {
  ModelConfig c = llama_defaults();
  c.n_layers = require<std::int64_t>(hf, "num_hidden_layers", where);
  c.d_model = require<std::int64_t>(hf, "hidden_size", where);
  c.n_heads = require<std::int64_t>(hf, "num_attention_heads", where);
  c.n_kv_heads = value_or<std::int64_t>(hf, "num_key_value_heads", c.n_heads, where);
  c.d_head = value_or<std::int64_t>(hf, "head_dim", c.n_heads > 0 ? c.d_model / c.n_heads : 0, where);
  c.d_mlp = require<std::int64_t>(hf, "intermediate_size", where);
  c.d_vocab = require<std::int64_t>(hf, "vocab_size", where);
  c.n_ctx = value_or<std::int64_t>(hf, "max_position_embeddings", 2048, where);
  c.norm_eps = value_or<double>(hf, "rms_norm_eps", 1e-6, where);
  c.activation = read_activation(hf, "hidden_act", "silu", where);
  c.tied_embeddings = value_or<bool>(hf, "tie_word_embeddings", false, where);
  c.attn_bias = value_or<bool>(hf, "attention_bias", false, where);
  c.attn_out_bias = c.attn_bias;
  c.mlp_bias = value_or<bool>(hf, "mlp_bias", false, where);
  c.initializer_range = value_or<double>(hf, "initializer_range", 0.02, where);
  c.rope = read_rope(hf, where);
  read_special_ids(c, hf, where);
  return c;
}

Json llama_to_hf(const ModelConfig& c) {
  Json hf = {{"architectures", {"LlamaForCausalLM"}},
             {"model_type", c.family},
             {"vocab_size", c.d_vocab},
             {"hidden_size", c.d_model},
             {"intermediate_size", c.d_mlp},
             {"num_hidden_layers", c.n_layers},
             {"num_attention_heads", c.n_heads},
             {"num_key_value_heads", c.n_kv_heads},
             {"head_dim", c.d_head},
             {"hidden_act", activation_name(c.activation, "gelu_pytorch_tanh")},
             {"max_position_embeddings", c.n_ctx},
             {"initializer_range", c.initializer_range},
             {"rms_norm_eps", c.norm_eps},
             {"tie_word_embeddings", c.tied_embeddings},
             {"attention_bias", c.attn_bias},
             {"attention_dropout", 0.0},
             {"mlp_bias", c.mlp_bias},
             {"use_cache", true}};
  write_rope(c.rope, hf);
  write_special_ids(c, hf);
  return hf;
}

std::vector<Slot> llama_slots(const ModelConfig& c, Weights& w) {
  std::vector<Slot> out;
  const std::int64_t d = c.d_model, q = c.n_heads * c.d_head, kv = c.n_kv_heads * c.d_head;
  out.push_back({"model.embed_tokens.weight", &w.W_E, {c.d_vocab, d}});
  for (std::size_t l = 0; l < w.blocks.size(); ++l) {
    BlockWeights& b = w.blocks[l];
    const std::string at = "model.layers." + std::to_string(l) + ".";
    out.push_back({at + "input_layernorm.weight", &b.ln1_w, {d}});
    out.push_back({at + "self_attn.q_proj.weight", &b.W_Q, {q, d}});
    out.push_back({at + "self_attn.k_proj.weight", &b.W_K, {kv, d}});
    out.push_back({at + "self_attn.v_proj.weight", &b.W_V, {kv, d}});
    if (c.attn_bias) {
      out.push_back({at + "self_attn.q_proj.bias", &b.b_Q, {q}});
      out.push_back({at + "self_attn.k_proj.bias", &b.b_K, {kv}});
      out.push_back({at + "self_attn.v_proj.bias", &b.b_V, {kv}});
    }
    out.push_back({at + "self_attn.o_proj.weight", &b.W_O, {d, q}});
    if (c.attn_out_bias) out.push_back({at + "self_attn.o_proj.bias", &b.b_O, {d}});
    out.push_back({at + "post_attention_layernorm.weight", &b.ln2_w, {d}});
    out.push_back({at + "mlp.gate_proj.weight", &b.W_gate, {c.d_mlp, d}});
    out.push_back({at + "mlp.up_proj.weight", &b.W_in, {c.d_mlp, d}});
    out.push_back({at + "mlp.down_proj.weight", &b.W_out, {d, c.d_mlp}});
    if (c.mlp_bias) {
      out.push_back({at + "mlp.gate_proj.bias", &b.b_gate, {c.d_mlp}});
      out.push_back({at + "mlp.up_proj.bias", &b.b_in, {c.d_mlp}});
      out.push_back({at + "mlp.down_proj.bias", &b.b_out, {d}});
    }
  }
  out.push_back({"model.norm.weight", &w.ln_final_w, {d}});
  if (!c.tied_embeddings) out.push_back({"lm_head.weight", &w.W_U, {c.d_vocab, d}});
  return out;
}

bool llama_buffer(std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); }

}  // namespace

const Family kLlama = {"llama", "model.", llama_defaults, llama_config, llama_to_hf, llama_slots, llama_buffer};

Tensor half_split(const Tensor& rows, std::int64_t heads) {
  return rows.reshape({heads, rows.size(0) / heads / 2, 2, -1}).transpose(1, 2).reshape(rows.sizes()).contiguous();
}

}  // namespace assay::families
