// GPT-Neo (TinyStories): like GPT-2, but attention is not scaled, local layers alternate with global ones, and Q, K, V have no bias.
#include <algorithm>

#include "assay/base/error.h"
#include "assay/model/families/config_keys.h"
#include "assay/model/families/family.h"

namespace assay::families {
namespace {

constexpr std::int64_t kWindow = 256;

ModelConfig gpt_neo_defaults() {
  ModelConfig c;
  c.family = "gpt_neo";
  c.norm = Norm::layer;
  c.activation = Activation::gelu_tanh;
  c.gated_mlp = false;
  c.positions = Positions::learned;
  c.attn_scale = 1.0;
  c.tied_embeddings = c.attn_out_bias = c.mlp_bias = true;
  return c;
}

/// "global" or "local" of each layer: attention_types = [[kinds, repetitions], ...], or attention_layers, which is what they amount to.
std::vector<std::string> attention_kinds(const Json& hf, std::string_view where) {
  const auto types = value_or<Json>(hf, "attention_types", Json(nullptr), where);
  if (types.is_null()) return require<std::vector<std::string>>(hf, "attention_layers", where);
  std::vector<std::string> kinds;
  for (const Json& entry : types) {
    const bool good =
        entry.is_array() && entry.size() == 2 && entry[0].is_array() && entry[1].is_number_integer() && entry[1] >= 0 && entry[1] < 1 << 14;
    if (!good)
      throw Error("model config",
                  std::string(where) + ": attention_types has the entry " + entry.dump() + "; expected [[\"global\", \"local\"], 2]");
    for (std::int64_t i = 0; i < entry[1].get<std::int64_t>(); ++i) {
      for (const Json& kind : entry[0]) kinds.push_back(kind.is_string() ? kind.get<std::string>() : kind.dump());
    }
  }
  return kinds;
}

std::vector<std::int64_t> read_windows(const ModelConfig& c, const Json& hf, std::string_view where) {
  const auto kinds = attention_kinds(hf, where);
  const auto window = value_or<std::int64_t>(hf, "window_size", kWindow, where);
  if (window < 1) throw Error("model config", std::string(where) + ": window_size is " + std::to_string(window));
  if (static_cast<std::int64_t>(kinds.size()) != c.n_layers)
    throw Error("model config", std::string(where) + ": attention_types describe " + std::to_string(kinds.size()) +
                                    " layers, num_layers is " + std::to_string(c.n_layers));
  std::vector<std::int64_t> windows;
  for (const std::string& kind : kinds) {
    if (kind != "global" && kind != "local")
      throw Error("model config", std::string(where) + ": attention '" + kind + "' is not supported; expected global or local");
    windows.push_back(kind == "local" ? window : 0);
  }
  if (std::count(windows.begin(), windows.end(), 0) == c.n_layers) windows.clear();
  return windows;
}

ModelConfig gpt_neo_config(const Json& hf, std::string_view where) {
  ModelConfig c = gpt_neo_defaults();
  c.n_layers = require<std::int64_t>(hf, "num_layers", where);
  c.d_model = require<std::int64_t>(hf, "hidden_size", where);
  c.n_heads = c.n_kv_heads = require<std::int64_t>(hf, "num_heads", where);
  c.d_head = even_heads(c, where);
  c.d_mlp = value_or<std::int64_t>(hf, "intermediate_size", 4 * c.d_model, where);
  c.d_vocab = require<std::int64_t>(hf, "vocab_size", where);
  c.n_ctx = value_or<std::int64_t>(hf, "max_position_embeddings", 2048, where);
  c.windows = read_windows(c, hf, where);
  c.norm_eps = value_or<double>(hf, "layer_norm_epsilon", 1e-5, where);
  c.activation = read_activation(hf, "activation_function", "gelu_new", where);
  c.tied_embeddings = value_or<bool>(hf, "tie_word_embeddings", true, where);
  c.initializer_range = value_or<double>(hf, "initializer_range", 0.02, where);
  read_special_ids(c, hf, where, kGpt2EndOfText);
  return c;
}

Json gpt_neo_to_hf(const ModelConfig& c) {
  std::vector<std::string> kinds;
  std::int64_t window = kWindow;
  for (std::int64_t l = 0; l < c.n_layers; ++l) {
    kinds.push_back(c.window(l) > 0 ? "local" : "global");
    if (c.window(l) > 0) window = c.window(l);
  }
  std::size_t period = 1;  // the shortest that gives all layers
  while (kinds.size() % period != 0 || !std::equal(kinds.begin() + static_cast<std::ptrdiff_t>(period), kinds.end(), kinds.begin()))
    ++period;
  const std::vector<std::string> pattern(kinds.begin(), kinds.begin() + static_cast<std::ptrdiff_t>(period));
  Json hf = {{"architectures", {"GPTNeoForCausalLM"}},
             {"model_type", c.family},
             {"vocab_size", c.d_vocab},
             {"max_position_embeddings", c.n_ctx},
             {"hidden_size", c.d_model},
             {"num_layers", c.n_layers},
             {"num_heads", c.n_heads},
             {"intermediate_size", c.d_mlp == 4 * c.d_model ? Json(nullptr) : Json(c.d_mlp)},
             {"attention_types", Json::array({Json::array({pattern, kinds.size() / period})})},
             {"attention_layers", kinds},
             {"window_size", window},
             {"activation_function", activation_name(c.activation, "gelu_new")},
             {"layer_norm_epsilon", c.norm_eps},
             {"initializer_range", c.initializer_range},
             {"tie_word_embeddings", c.tied_embeddings},
             {"attention_dropout", 0.0},
             {"embed_dropout", 0.0},
             {"resid_dropout", 0.0},
             {"use_cache", true}};
  write_special_ids(c, hf);
  return hf;
}

std::vector<Slot> gpt_neo_slots(const ModelConfig& c, Weights& w) {
  std::vector<Slot> out;
  const std::int64_t d = c.d_model, q = c.n_heads * c.d_head;
  const auto with_bias = [&](const std::string& name, Tensor& weight, Tensor& bias, std::vector<std::int64_t> shape) {
    out.push_back({name + ".weight", &weight, shape});
    out.push_back({name + ".bias", &bias, {shape[0]}});
  };
  out.push_back({"transformer.wte.weight", &w.W_E, {c.d_vocab, d}});
  out.push_back({"transformer.wpe.weight", &w.W_pos, {c.n_ctx, d}});
  for (std::size_t l = 0; l < w.blocks.size(); ++l) {
    BlockWeights& b = w.blocks[l];
    const std::string at = "transformer.h." + std::to_string(l) + ".", attention = at + "attn.attention.";
    with_bias(at + "ln_1", b.ln1_w, b.ln1_b, {d});
    out.push_back({attention + "q_proj.weight", &b.W_Q, {q, d}});
    out.push_back({attention + "k_proj.weight", &b.W_K, {q, d}});
    out.push_back({attention + "v_proj.weight", &b.W_V, {q, d}});
    with_bias(attention + "out_proj", b.W_O, b.b_O, {d, q});
    with_bias(at + "ln_2", b.ln2_w, b.ln2_b, {d});
    with_bias(at + "mlp.c_fc", b.W_in, b.b_in, {c.d_mlp, d});
    with_bias(at + "mlp.c_proj", b.W_out, b.b_out, {d, c.d_mlp});
  }
  with_bias("transformer.ln_f", w.ln_final_w, w.ln_final_b, {d});
  if (!c.tied_embeddings) out.push_back({"lm_head.weight", &w.W_U, {c.d_vocab, d}});
  return out;
}

bool gpt_neo_buffer(std::string_view name) { return name.ends_with(".attention.bias") || name.ends_with(".attention.masked_bias"); }

}  // namespace

const Family kGptNeo = {"gpt_neo", "transformer.", gpt_neo_defaults, gpt_neo_config, gpt_neo_to_hf, gpt_neo_slots, gpt_neo_buffer};

}  // namespace assay::families
