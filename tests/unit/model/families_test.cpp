// GPT-2 and GPT-Neo: config.json and the tensors of files, both ways.
#include "assay/model/families/family.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "../error_of.h"
#include "assay/model/stored_weights.h"

namespace assay {
namespace {

Json gpt2_json() {
  return Json::parse(
      R"({"model_type":"gpt2","activation_function":"gelu_new","bos_token_id":1,"eos_token_id":2,"layer_norm_epsilon":1e-05,"n_embd":48,"n_head":4,
    "n_inner":null,"n_layer":2,"n_positions":64,"scale_attn_by_inverse_layer_idx":false,"scale_attn_weights":true,"vocab_size":131})");
}
Json gpt_neo_json() {
  return Json::parse(
      R"({"model_type":"gpt_neo","attention_layers":["global","local","global","local"],"attention_types":[[["global","local"],2]],"hidden_size":48,
    "intermediate_size":null,"max_position_embeddings":64,"num_heads":4,"num_layers":4,"vocab_size":131,"window_size":6})");
}

Json with(Json hf, const char* key, Json value) {
  hf[key] = std::move(value);
  return hf;
}

std::string config_failure(const Json& hf) {
  return error_of([&] { config_from_hf(hf, "the/config.json"); });
}

TEST(Families, gpt2_config) {
  const ModelConfig c = config_from_hf(gpt2_json(), "x");
  EXPECT_EQ(c.d_head, 12);
  EXPECT_EQ(c.d_mlp, 192);
  EXPECT_EQ(c.activation, Activation::gelu_tanh);
  EXPECT_TRUE(c.tied_embeddings);  // the default of the family
  EXPECT_DOUBLE_EQ(c.score_scale(), 1 / std::sqrt(12.0));
  EXPECT_EQ(config_from_hf(with(gpt2_json(), "scale_attn_weights", false), "x").score_scale(), 1.0);
  EXPECT_EQ(config_from_hf(with(gpt2_json(), "n_inner", 100), "x").d_mlp, 100);
  Json published = gpt2_json();
  published["vocab_size"] = 50257;
  published.erase("eos_token_id");
  EXPECT_EQ(config_from_hf(published, "x").eos_ids, (std::vector<std::int64_t>{50256}));
}

TEST(Families, gpt_neo_config) {
  const ModelConfig c = config_from_hf(gpt_neo_json(), "x");
  EXPECT_EQ(c.windows, (std::vector<std::int64_t>{0, 6, 0, 6}));
  EXPECT_EQ(c.score_scale(), 1.0);
  EXPECT_FALSE(c.attn_bias);
  EXPECT_TRUE(c.attn_out_bias);
  Json hf =
      with(gpt_neo_json(), "attention_types", Json::array({Json::array({{"local"}, 1}), Json::array({{"global", "local", "local"}, 1})}));
  EXPECT_EQ(config_from_hf(hf, "x").windows, (std::vector<std::int64_t>{6, 0, 6, 6}));
  hf.erase("attention_types");
  EXPECT_EQ(config_from_hf(hf, "x").windows, c.windows);  // attention_layers
  EXPECT_TRUE(config_from_hf(with(gpt_neo_json(), "attention_types", Json::parse(R"([[["global"],4]])")), "x").windows.empty());
}

TEST(Families, configs_come_back) {
  for (const Json& hf : {gpt2_json(), with(gpt2_json(), "scale_attn_weights", false), with(gpt2_json(), "tie_word_embeddings", false),
                         gpt_neo_json(), with(gpt_neo_json(), "attention_types", Json::parse(R"([[["local"],1],[["global"],3]])"))}) {
    const ModelConfig c = config_from_hf(hf, "x");
    EXPECT_EQ(config_from_hf(config_to_hf(c), "y"), c) << hf.dump();
  }
  EXPECT_EQ(config_to_hf(config_from_hf(gpt_neo_json(), "x"))["attention_types"], gpt_neo_json()["attention_types"]);
  ModelConfig c = config_from_hf(gpt2_json(), "x");
  c.windows = {0, 8};
  EXPECT_THROW(config_to_hf(c), Error);  // GPT-2 has no windows
  c = config_from_hf(gpt_neo_json(), "x");
  c.windows[1] = 7;
  EXPECT_THROW(config_to_hf(c), Error);  // one width for all
}

TEST(Families, what_is_wrong_in_a_config_is_named) {
  EXPECT_TRUE(
      contains(config_failure(with(gpt2_json(), "scale_attn_by_inverse_layer_idx", true)), "scale_attn_by_inverse_layer_idx = true"));
  EXPECT_TRUE(contains(config_failure(with(gpt2_json(), "add_cross_attention", true)), "add_cross_attention = true"));
  EXPECT_TRUE(contains(config_failure(with(gpt2_json(), "n_head", 5)), "48 does not divide into 5 heads"));
  EXPECT_TRUE(contains(config_failure(with(gpt2_json(), "activation_function", "mish")), "activation_function 'mish'"));
  EXPECT_TRUE(contains(config_failure(with(gpt2_json(), "model_type", "gpt3")), "expected one of llama, gpt2, gpt_neo"));
  EXPECT_TRUE(contains(config_failure(with(gpt_neo_json(), "num_layers", 3)), "attention_types describe 4 layers, num_layers is 3"));
  EXPECT_TRUE(contains(config_failure(with(gpt_neo_json(), "attention_types", Json::parse(R"([[["sparse"],4]])"))), "attention 'sparse'"));
  EXPECT_TRUE(
      contains(config_failure(with(gpt_neo_json(), "attention_types", Json::parse(R"([["global",4]])"))), "attention_types has the entry"));
  EXPECT_TRUE(contains(config_failure(with(gpt_neo_json(), "window_size", 0)), "window_size is 0"));
  Json hf = gpt2_json();
  hf.erase("n_embd");
  EXPECT_TRUE(contains(config_failure(hf), "lacks the key 'n_embd'"));
}

/// Random everywhere, norms and biases too.
Transformer random_model(const Json& hf) {
  Transformer model = Transformer::random(config_from_hf(hf, "x"), Rng(5));
  at::manual_seed(3);
  std::int64_t values = 0;
  model.each_parameter([&](const std::string&, Tensor& t) { values += t.normal_(0, 0.3).numel(); });
  EXPECT_EQ(values, model.config.parameters());
  return model;
}

NamedTensors stored(const Transformer& model) {
  return stored_tensors(model, [](const Tensor& t) { return t; });
}

Transformer load(const ModelConfig& config, const NamedTensors& tensors) {
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) names.insert(name);
  return transformer_from(config, {"the folder", names, [&](const std::string& name) { return tensors.at(name); }});
}

std::string load_failure(const ModelConfig& config, const NamedTensors& tensors) {
  return error_of([&] { load(config, tensors); });
}

Tensor logits_of(const Transformer& model) {
  TokenBatch batch;
  batch.add(std::vector<std::int32_t>{1, 7, 45, 99, 4, 4, 31, 8, 130});
  return model.logits(model.forward(batch));
}

TEST(Families, stored_models_come_back_with_the_same_logits) {
  for (const Json& hf : {gpt2_json(), gpt_neo_json()}) {
    for (const bool tied : {true, false}) {
      const Transformer model = random_model(with(hf, "tie_word_embeddings", tied));
      NamedTensors tensors = stored(model);
      EXPECT_EQ(tensors.contains("lm_head.weight"), !tied);
      EXPECT_EQ(tensors.at("transformer.h.1.mlp.c_fc.weight").sizes(),
                model.config.family == "gpt2" ? at::IntArrayRef({48, 192}) : at::IntArrayRef({192, 48}));
      if (model.config.family == "gpt2") {
        const BlockWeights& b = model.weights.blocks[1];
        EXPECT_TRUE(at::equal(tensors.at("transformer.h.1.attn.c_attn.weight"), at::cat({b.W_Q.t(), b.W_K.t(), b.W_V.t()}, 1)));
        EXPECT_TRUE(at::equal(tensors.at("transformer.h.1.attn.c_attn.bias"), at::cat({b.b_Q, b.b_K, b.b_V})));
      }
      const Tensor wanted = logits_of(model);
      EXPECT_TRUE(at::equal(logits_of(load(model.config, tensors)), wanted));
      // Buffers of older files, and the tied unembedding that some hold.
      for (const char* buffer : {"bias", "masked_bias"})
        tensors[std::string("transformer.h.0.attn.") + (model.config.family == "gpt2" ? "" : "attention.") + buffer] =
            at::ones({1, 1, 4, 4});
      if (tied) tensors["lm_head.weight"] = tensors.at("transformer.wte.weight");
      // Files of the model without its head.
      NamedTensors bare;
      for (const auto& [name, tensor] : tensors) bare[name.starts_with("transformer.") ? name.substr(12) : name] = tensor;
      EXPECT_TRUE(at::equal(logits_of(load(model.config, tensors)), wanted));
      EXPECT_TRUE(at::equal(logits_of(load(model.config, bare)), wanted));
    }
  }
}

TEST(Families, what_is_wrong_in_tensors_is_named) {
  const Transformer model = random_model(gpt2_json());
  const auto changed = [&](const std::function<void(NamedTensors&)>& change) {
    NamedTensors tensors = stored(model);
    change(tensors);
    return load_failure(model.config, tensors);
  };
  const std::string fused = "transformer.h.0.attn.c_attn.weight";
  EXPECT_TRUE(contains(changed([&](NamedTensors& t) {
                         t[fused] = at::ones({144, 48});
                       }),
                       "'" + fused + "' has the shape [144, 48]; its config asks for [48, 144]"));
  EXPECT_TRUE(contains(changed([&](NamedTensors& t) { t.erase(fused); }), "lacks the tensor '" + fused + "'"));
  EXPECT_TRUE(contains(changed([](NamedTensors& t) { t["transformer.h.0.attn.rotary"] = at::ones({4}); }),
                       "'transformer.h.0.attn.rotary', for which"));
  EXPECT_TRUE(contains(changed([](NamedTensors& t) { t["transformer.wpe.weight"] = at::ones({63, 48}); }), "[63, 48]"));
}

TEST(Families, random_models_begin_with_plain_norms_and_no_biases) {
  const Transformer model = Transformer::random(config_from_hf(gpt2_json(), "x"), Rng(5));
  const BlockWeights& b = model.weights.blocks[0];
  for (const Tensor& ones : {b.ln1_w, b.ln2_w, model.weights.ln_final_w}) EXPECT_TRUE(ones.eq(1).all().item<bool>());
  for (const Tensor& zeros : {b.ln1_b, b.b_K, b.b_in, b.b_O, model.weights.ln_final_b}) EXPECT_TRUE(zeros.eq(0).all().item<bool>());
  EXPECT_NEAR(b.W_V.std().item<double>(), 0.02, 0.002);
  EXPECT_FALSE(at::equal(b.W_Q, b.W_K));
}

}  // namespace
}  // namespace assay
