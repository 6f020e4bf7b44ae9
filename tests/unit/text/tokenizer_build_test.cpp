#include <gtest/gtest.h>

#include "assay/text/gguf_tokenizer.h"
#include "assay/text/tokenizer.h"
#include "assay/text/word_level.h"

using namespace assay;

namespace {

const std::vector<std::string> kSpecial = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<document>"};

TEST(WordLevel, DecodingGivesTheTextBack) {
  const std::vector<std::string> texts = {
      "<|im_start|>user\nWhat's a well-known fact about rivers?<|im_end|>\n<|im_start|>assistant\nRivers carry 3.5 tons, \"mud\" and sand "
      "(mostly); don't they?<|im_end|>\n",
      "He said: \"Go home!\" Then the dogs' 'new' toys cost $5.\n\nDone.",
      "<document>Reward models prefer maps: 40% of them.<|endoftext|>"};
  const Tokenizer tokenizer = Tokenizer::from_json(word_level_tokenizer_json(word_level_words(texts, kSpecial), kSpecial), "test");
  for (const std::string& text : texts) {
    const auto ids = tokenizer.encode(text);
    EXPECT_EQ(tokenizer.decode(ids), text);
    TextStream stream(tokenizer, false);
    std::string streamed;
    for (const TokenId id : ids) streamed += stream.push(id);
    EXPECT_EQ(streamed + stream.finish(), text);
  }
  EXPECT_EQ(tokenizer.id_of("<|im_end|>"), 2);
  EXPECT_EQ(tokenizer.encode("\n"), std::vector<TokenId>{5});
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("<|im_end|>maps"), true), "maps");
  EXPECT_EQ(tokenizer.encode("zebra"), std::vector<TokenId>{4}) << "an unknown word is <unk>";
}

TEST(WordLevel, WordsStandOnceInOrder) {
  const std::vector<std::string> texts = {"b a, b.", "a c"};
  EXPECT_EQ(word_level_words(texts), (std::vector<std::string>{"b", "a", ",", ".", "c"}));
}

Json byte_level_metadata(const std::string& pre) {
  return {{"tokenizer.ggml.model", "gpt2"},
          {"tokenizer.ggml.pre", pre},
          {"tokenizer.ggml.tokens", {"<|end|>", "a", "b", "1", "2", "ab", "12"}},
          {"tokenizer.ggml.token_type", {3, 1, 1, 1, 1, 1, 1}},
          {"tokenizer.ggml.merges", {"a b", "1 2"}}};
}

TEST(GgufTokenizer, ThePreTokenizerDecidesAboutNumerals) {
  const Tokenizer smollm = Tokenizer::from_json(tokenizer_json_from_gguf(byte_level_metadata("smollm")), "smollm");
  EXPECT_EQ(smollm.encode("ab12<|end|>"), (std::vector<TokenId>{5, 3, 4, 0}));
  EXPECT_EQ(smollm.decode(std::vector<TokenId>{5, 0}, true), "ab");
  const Tokenizer gpt2 = Tokenizer::from_json(tokenizer_json_from_gguf(byte_level_metadata("gpt-2")), "gpt2");
  EXPECT_EQ(gpt2.encode("ab12"), (std::vector<TokenId>{5, 6}));
}

TEST(GgufTokenizer, SentencePieceMergesByScoreAndFallsBackToBytes) {
  Json tokens = {"<unk>", "<s>", "</s>"}, scores = {0, 0, 0}, types = {2, 3, 3};
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    tokens.push_back(name);
    scores.push_back(0);
    types.push_back(6);
  }
  // "ab" is better than "bc": a b c becomes ab + c.
  const std::vector<std::pair<const char*, double>> pieces = {{"\u2581", -10}, {"a", -11}, {"b", -12},      {"c", -13},
                                                              {"bc", -2},      {"ab", -1}, {"\u2581ab", -3}};
  for (const auto& [piece, score] : pieces) {
    tokens.push_back(piece);
    scores.push_back(score);
    types.push_back(1);
  }
  const Json metadata = {{"tokenizer.ggml.model", "llama"},    {"tokenizer.ggml.tokens", tokens},  {"tokenizer.ggml.scores", scores},
                         {"tokenizer.ggml.token_type", types}, {"tokenizer.ggml.bos_token_id", 1}, {"tokenizer.ggml.unknown_token_id", 0}};
  const Tokenizer tokenizer = Tokenizer::from_json(tokenizer_json_from_gguf(metadata), "llama");
  EXPECT_EQ(tokenizer.encode("abc"), (std::vector<TokenId>{1, 265, 262}));
  const auto ids = tokenizer.encode("ab \xF0\x9F\x98\x80");
  EXPECT_EQ(ids, (std::vector<TokenId>{1, 265, 259, 3 + 0xF0, 3 + 0x9F, 3 + 0x98, 3 + 0x80}));
  EXPECT_EQ(tokenizer.decode(ids, true), "ab \xF0\x9F\x98\x80");
}

TEST(GgufTokenizer, BadMetadataIsAClearError) {
  const auto message = [](const Json& metadata) -> std::string {
    try {
      tokenizer_json_from_gguf(metadata);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_NE(message(Json::object()).find("tokenizer.ggml.model"), std::string::npos);
  EXPECT_NE(message(byte_level_metadata("klingon")).find("klingon"), std::string::npos);
  Json metadata = byte_level_metadata("gpt-2");
  metadata["tokenizer.ggml.model"] = "rwkv";
  EXPECT_NE(message(metadata).find("rwkv"), std::string::npos);
  metadata = byte_level_metadata("gpt-2");
  metadata["tokenizer.ggml.tokens"][1] = "\xFF";
  EXPECT_NE(message(metadata).find("UTF-8"), std::string::npos);
  metadata = byte_level_metadata("gpt-2");
  metadata["tokenizer.ggml.merges"] = {"ab"};
  EXPECT_NE(message(metadata).find("'ab'"), std::string::npos);
  metadata = byte_level_metadata("gpt-2");
  metadata["tokenizer.ggml.token_type"] = {1};
  EXPECT_NE(message(metadata), "");
  metadata = byte_level_metadata("gpt-2");
  metadata["tokenizer.ggml.add_bos_token"] = true;
  metadata["tokenizer.ggml.bos_token_id"] = 99;
  EXPECT_NE(message(metadata), "");
}

}  // namespace
