#include "assay/model/bert.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/tensor/safetensors.h"

namespace assay {
namespace {

constexpr const char* kWordPiece =
    R"({"version":"1.0","truncation":{"direction":"Right","max_length":3,"strategy":"LongestFirst","stride":0},
  "padding":{"strategy":{"Fixed":8},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"[PAD]"},"added_tokens":[],
  "normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"decoder":null,
  "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}}],
  "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],
  "special_tokens":{"[CLS]":{"id":"[CLS]","ids":[1],"tokens":["[CLS]"]},"[SEP]":{"id":"[SEP]","ids":[2],"tokens":["[SEP]"]}}},
  "model":{"type":"WordLevel","vocab":{"[PAD]":0,"[CLS]":1,"[SEP]":2,"a":3,"b":4,"c":5},"unk_token":"[PAD]"}})";

class Bert : public testing::Test {
 protected:
  void SetUp() override {
    at::manual_seed(5);
    write_json(folder / "config.json", config);
    write_text(folder / "tokenizer.json", kWordPiece);
    const auto linear = [&](const std::string& name, std::int64_t out, std::int64_t in) {
      tensors[name + ".weight"] = at::randn({out, in}) * 0.3;
      tensors[name + ".bias"] = at::randn({out}) * 0.3;
    };
    const auto norm = [&](const std::string& name) {
      tensors[name + ".weight"] = 1 + at::randn({8}) * 0.2;
      tensors[name + ".bias"] = at::randn({8}) * 0.2;
    };
    tensors["embeddings.word_embeddings.weight"] = at::randn({6, 8});
    tensors["embeddings.position_embeddings.weight"] = at::randn({300, 8});
    tensors["embeddings.token_type_embeddings.weight"] = at::randn({2, 8});
    norm("embeddings.LayerNorm");
    const std::string layer = "encoder.layer.0.";
    for (const char* part : {"query", "key", "value"}) linear(layer + "attention.self." + part, 8, 8);
    linear(layer + "attention.output.dense", 8, 8);
    norm(layer + "attention.output.LayerNorm");
    linear(layer + "intermediate.dense", 12, 8);
    linear(layer + "output.dense", 8, 12);
    norm(layer + "output.LayerNorm");
    save();
  }
  void save() { save_safetensors(folder / "model.safetensors", tensors); }
  std::string failure() {
    try {
      (void)SentenceEncoder::from_folder(folder);
    } catch (const Error& e) {
      return e.what();
    }
    return "nothing was thrown";
  }
  TemporaryFolder temporary;
  const fs::path folder = temporary.path();
  NamedTensors tensors;
  Json config = {{"model_type", "bert"},          {"num_hidden_layers", 1},  {"hidden_size", 8},
                 {"num_attention_heads", 2},      {"intermediate_size", 12}, {"vocab_size", 6},
                 {"max_position_embeddings", 300}};
};

TEST_F(Bert, embeddings_have_length_1_and_do_not_depend_on_the_batch) {
  const SentenceEncoder encoder = SentenceEncoder::from_folder(folder);
  const std::vector<std::string> texts = {"a b c", "c", "b b a a c b a", ""};
  const Tensor together = encoder.embed(texts);
  ASSERT_EQ(together.sizes(), (std::vector<std::int64_t>{4, 8}));
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const Tensor alone = encoder.embed(std::span(&texts[i], 1))[0];
    EXPECT_NEAR(alone.norm().item<double>(), 1, 1e-6);
    EXPECT_LT((alone - together[static_cast<std::int64_t>(i)]).abs().max().item<double>(), 1e-6) << texts[i];
  }
  EXPECT_GT((together[0] - together[2]).abs().max().item<double>(), 1e-3);
}

TEST_F(Bert, the_files_padding_and_truncation_do_not_count_and_256_tokens_do) {
  const SentenceEncoder encoder = SentenceEncoder::from_folder(folder);
  EXPECT_EQ(encoder.encode("a b c a"), (std::vector<TokenId>{1, 3, 4, 5, 3, 2}));
  std::string text;
  for (int i = 0; i < 400; ++i) text += i % 2 ? "b " : "a ";
  const auto ids = encoder.encode(text);
  ASSERT_EQ(ids.size(), 256U);
  EXPECT_EQ(ids.front(), 1);
  EXPECT_EQ(ids[254], 4);  // the 254th word: b
  EXPECT_EQ(ids.back(), 2);
}

TEST_F(Bert, broken_folders) {
  NamedTensors whole = tensors;
  tensors.erase("encoder.layer.0.output.dense.bias");
  save();
  EXPECT_NE(failure().find("lacks the tensor 'encoder.layer.0.output.dense.bias'"), std::string::npos) << failure();
  tensors = whole;
  tensors["embeddings.word_embeddings.weight"] = at::zeros({7, 8});
  save();
  EXPECT_NE(failure().find("'embeddings.word_embeddings.weight' has another shape"), std::string::npos) << failure();
  tensors = whole;
  save();
  config["position_embedding_type"] = "relative_key";
  write_json(folder / "config.json", config);
  EXPECT_NE(failure().find("relative_key"), std::string::npos) << failure();
  config = {{"model_type", "llama"}};
  write_json(folder / "config.json", config);
  EXPECT_NE(failure().find("'llama'"), std::string::npos) << failure();
}

TEST_F(Bert, ids_outside_the_vocabulary_are_refused) {
  const BertEncoder bert = BertEncoder::from_folder(folder);
  const std::vector<std::int32_t> ids = {1, 6}, types = {0, 0};
  const std::vector<std::int64_t> offsets = {0, 2};
  EXPECT_THROW((void)bert.forward(ids, types, offsets), Error);
  EXPECT_THROW((void)bert.masked_lm_logits(at::zeros({1, 8})), Error);
}

}  // namespace
}  // namespace assay
