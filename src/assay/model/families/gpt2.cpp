// GPT-2: learned positions, layer norm, plain MLP, biases everywhere. Its Conv1D stores matrices [in, out], and Q, K, V are one of them.
#include "assay/model/families/config_keys.h"
#include "assay/model/families/family.h"

namespace assay::families {
namespace {

ModelConfig gpt2_defaults() {
  ModelConfig c;
  c.family = "gpt2";
  c.norm = Norm::layer;
  c.activation = Activation::gelu_tanh;
  c.gated_mlp = false;
  c.positions = Positions::learned;
  c.tied_embeddings = c.attn_bias = c.attn_out_bias = c.mlp_bias = true;
  return c;
}

ModelConfig gpt2_config(const Json& hf, std::string_view where) {
  refuse_unless(hf, "scale_attn_by_inverse_layer_idx", false, where);
  refuse_unless(hf, "add_cross_attention", false, where);
  ModelConfig c = gpt2_defaults();
  c.n_layers = require<std::int64_t>(hf, "n_layer", where);
  c.d_model = require<std::int64_t>(hf, "n_embd", where);
  c.n_heads = c.n_kv_heads = require<std::int64_t>(hf, "n_head", where);
  c.d_head = even_heads(c, where);
  c.d_mlp = value_or<std::int64_t>(hf, "n_inner", 4 * c.d_model, where);
  c.d_vocab = require<std::int64_t>(hf, "vocab_size", where);
  c.n_ctx = value_or<std::int64_t>(hf, "n_positions", 1024, where);
  c.norm_eps = value_or<double>(hf, "layer_norm_epsilon", 1e-5, where);
  c.activation = read_activation(hf, "activation_function", "gelu_new", where);
  if (!value_or<bool>(hf, "scale_attn_weights", true, where)) c.attn_scale = 1.0;
  c.tied_embeddings = value_or<bool>(hf, "tie_word_embeddings", true, where);
  c.initializer_range = value_or<double>(hf, "initializer_range", 0.02, where);
  read_special_ids(c, hf, where, kGpt2EndOfText);
  return c;
}

Json gpt2_to_hf(const ModelConfig& c) {
  Json hf = {{"architectures", {"GPT2LMHeadModel"}},
             {"model_type", c.family},
             {"vocab_size", c.d_vocab},
             {"n_positions", c.n_ctx},
             {"n_embd", c.d_model},
             {"n_layer", c.n_layers},
             {"n_head", c.n_heads},
             {"n_inner", c.d_mlp == 4 * c.d_model ? Json(nullptr) : Json(c.d_mlp)},
             {"activation_function", activation_name(c.activation, "gelu_new")},
             {"layer_norm_epsilon", c.norm_eps},
             {"initializer_range", c.initializer_range},
             {"scale_attn_weights", !c.attn_scale},
             {"scale_attn_by_inverse_layer_idx", false},
             {"tie_word_embeddings", c.tied_embeddings},
             {"attn_pdrop", 0.0},
             {"embd_pdrop", 0.0},
             {"resid_pdrop", 0.0},
             {"use_cache", true}};
  write_special_ids(c, hf);
  return hf;
}

std::vector<Slot> gpt2_slots(const ModelConfig& c, Weights& w) {
  std::vector<Slot> out;
  const std::int64_t d = c.d_model, q = c.n_heads * c.d_head;
  const auto conv1d = [&](const std::string& name, Tensor& W, Tensor& b, std::int64_t rows, std::int64_t columns) {
    out.push_back({name + ".weight", &W, {rows, columns}, {}, true});
    out.push_back({name + ".bias", &b, {rows}});
  };
  const auto layer_norm = [&](const std::string& name, Tensor& weight, Tensor& bias) {
    out.push_back({name + ".weight", &weight, {d}});
    out.push_back({name + ".bias", &bias, {d}});
  };
  out.push_back({"transformer.wte.weight", &w.W_E, {c.d_vocab, d}});
  out.push_back({"transformer.wpe.weight", &w.W_pos, {c.n_ctx, d}});
  for (std::size_t l = 0; l < w.blocks.size(); ++l) {
    BlockWeights& b = w.blocks[l];
    const std::string at = "transformer.h." + std::to_string(l) + ".", weight = at + "attn.c_attn.weight", bias = at + "attn.c_attn.bias";
    layer_norm(at + "ln_1", b.ln1_w, b.ln1_b);
    out.push_back({weight + ".q", &b.W_Q, {q, d}, weight, true});
    out.push_back({weight + ".k", &b.W_K, {q, d}, weight, true});
    out.push_back({weight + ".v", &b.W_V, {q, d}, weight, true});
    out.push_back({bias + ".q", &b.b_Q, {q}, bias});
    out.push_back({bias + ".k", &b.b_K, {q}, bias});
    out.push_back({bias + ".v", &b.b_V, {q}, bias});
    conv1d(at + "attn.c_proj", b.W_O, b.b_O, d, q);
    layer_norm(at + "ln_2", b.ln2_w, b.ln2_b);
    conv1d(at + "mlp.c_fc", b.W_in, b.b_in, c.d_mlp, d);
    conv1d(at + "mlp.c_proj", b.W_out, b.b_out, d, c.d_mlp);
  }
  layer_norm("transformer.ln_f", w.ln_final_w, w.ln_final_b);
  if (!c.tied_embeddings) out.push_back({"lm_head.weight", &w.W_U, {c.d_vocab, d}});
  return out;
}

bool gpt2_buffer(std::string_view name) { return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"); }

}  // namespace

const Family kGpt2 = {"gpt2", "transformer.", gpt2_defaults, gpt2_config, gpt2_to_hf, gpt2_slots, gpt2_buffer};

}  // namespace assay::families
