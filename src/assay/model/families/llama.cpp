#include "assay/model/families/llama.h"

namespace assay::llama {

std::vector<Slot> slots(const ModelConfig& c, Weights& w) {
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

Tensor half_split(const Tensor& rows, std::int64_t heads) {
  return rows.reshape({heads, rows.size(0) / heads / 2, 2, -1}).transpose(1, 2).reshape(rows.sizes()).contiguous();
}

}  // namespace assay::llama
