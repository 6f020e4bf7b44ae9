#include "assay/model/config.h"

#include <gtest/gtest.h>

#include "../error_of.h"

namespace assay {
namespace {

Json today() {
  return Json::parse(
      R"({"architectures":["LlamaForCausalLM"],"attention_bias":false,"bos_token_id":1,"dtype":"float32","eos_token_id":[2,3],"head_dim":8,"hidden_act":"silu",
    "hidden_size":48,"intermediate_size":80,"max_position_embeddings":128,"mlp_bias":false,"model_type":"llama","num_attention_heads":6,"num_hidden_layers":2,"num_key_value_heads":2,
    "pad_token_id":null,"rms_norm_eps":1e-05,"tie_word_embeddings":true,"vocab_size":131,"rope_parameters":{"factor":8.0,"high_freq_factor":4.0,"low_freq_factor":1.0,
    "original_max_position_embeddings":32,"rope_theta":500.0,"rope_type":"llama3"}})");
}
Json older() {
  Json hf = today();
  hf["rope_scaling"] = hf["rope_parameters"];
  hf["rope_scaling"].erase("rope_theta");
  hf["rope_scaling"]["type"] = hf["rope_scaling"]["rope_type"];
  hf["rope_scaling"].erase("rope_type");
  hf["rope_theta"] = 500.0;
  hf.erase("rope_parameters");
  return hf;
}

std::string failure(const Json& hf) {
  try {
    config_from_hf(hf, "the/config.json");
  } catch (const Error& e) {
    return e.what();
  }
  return "nothing was thrown";
}
TEST(Config, both_spellings_give_the_same) {
  for (const Json& hf : {today(), older()}) {
    const ModelConfig c = config_from_hf(hf, "x");
    EXPECT_EQ(c.n_layers, 2);
    EXPECT_EQ(c.n_heads, 6);
    EXPECT_EQ(c.n_kv_heads, 2);
    EXPECT_EQ(c.d_head, 8);
    EXPECT_EQ(c.rope.scaling, "llama3");
    EXPECT_EQ(c.rope.theta, 500);
    EXPECT_EQ(c.rope.factor, 8);
    EXPECT_EQ(c.rope.original_n_ctx, 32);
    EXPECT_TRUE(c.tied_embeddings);
    EXPECT_EQ(c.eos_ids, (std::vector<std::int64_t>{2, 3}));
    EXPECT_FALSE(c.pad_id);
    EXPECT_EQ(config_to_hf(c), config_to_hf(config_from_hf(config_to_hf(c), "y")));
  }
}

TEST(Config, absent_keys_have_the_defaults_of_transformers) {
  Json hf = today();
  for (const char* key : {"num_key_value_heads", "head_dim", "rms_norm_eps", "tie_word_embeddings", "rope_parameters", "eos_token_id",
                          "max_position_embeddings"})
    hf.erase(key);
  const ModelConfig c = config_from_hf(hf, "x");
  EXPECT_EQ(c.n_kv_heads, 6);
  EXPECT_EQ(c.d_head, 8);
  EXPECT_EQ(c.norm_eps, 1e-6);
  EXPECT_FALSE(c.tied_embeddings);
  EXPECT_EQ(c.rope.theta, 10000);
  EXPECT_EQ(c.rope.scaling, "none");
  EXPECT_EQ(c.n_ctx, 2048);
}

TEST(Config, what_is_not_supported_is_named) {
  Json hf = today();
  hf["model_type"] = "mamba";
  EXPECT_TRUE(contains(failure(hf), "the/config.json: model_type 'mamba'")) << failure(hf);
  hf = today();
  hf["rope_parameters"]["rope_type"] = "yarn";
  EXPECT_TRUE(contains(failure(hf), "'yarn'")) << failure(hf);
  hf = today();
  hf["hidden_act"] = "xielu";
  EXPECT_TRUE(contains(failure(hf), "'xielu'")) << failure(hf);
  EXPECT_TRUE(contains(failure(Json::array()), "lacks the key 'model_type'"));
}

TEST(Config, faults_are_listed_together) {
  Json hf = today();
  hf["num_attention_heads"] = 5;
  hf["vocab_size"] = -3;
  hf["rms_norm_eps"] = 0;
  const std::string what = failure(hf);
  EXPECT_TRUE(contains(what, "the/config.json")) << what;
  EXPECT_TRUE(contains(what, "n_heads 5 is no multiple of n_kv_heads 2")) << what;
  EXPECT_TRUE(contains(what, "d_vocab is -3")) << what;
  EXPECT_TRUE(contains(what, "norm_eps")) << what;
  hf = today();
  hf["hidden_size"] = "wide";
  EXPECT_TRUE(contains(failure(hf), "'hidden_size' has the wrong type")) << failure(hf);
  hf = today();
  hf["rope_parameters"]["rope_theta"] = 0;
  EXPECT_TRUE(contains(failure(hf), "rope theta")) << failure(hf);
}

TEST(Config, absurd_sizes_do_not_overflow) {
  Json hf = today();
  hf["num_hidden_layers"] = std::int64_t{1} << 40;
  EXPECT_TRUE(contains(failure(hf), "n_layers")) << failure(hf);
  hf["num_hidden_layers"] = 1e300;
  EXPECT_NE(failure(hf), "nothing was thrown");
}

}  // namespace
}  // namespace assay
