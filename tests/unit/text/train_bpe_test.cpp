// A byte-level BPE learnt from texts: what it keeps, what it joins first, that it is the same each time.
#include "assay/text/train_bpe.h"

#include <gtest/gtest.h>

#include "../error_of.h"
#include "assay/text/tokenizer.h"

namespace assay {
namespace {

TEST(TrainBpe, LearnsTheMostFrequentPairsFirst) {
  // Words: " low" five times, " lower" twice, " newest" six times: the pairs es, st, " n"... by count.
  std::vector<std::string> texts;
  for (int i = 0; i < 5; ++i) texts.emplace_back(" low");
  for (int i = 0; i < 2; ++i) texts.emplace_back(" lower");
  for (int i = 0; i < 6; ++i) texts.emplace_back(" newest");
  for (int i = 0; i < 3; ++i) texts.emplace_back(" widest");
  const std::string json = train_bpe_tokenizer(texts, 257 + 3, {"<|endoftext|>"});
  EXPECT_EQ(json, train_bpe_tokenizer(texts, 257 + 3, {"<|endoftext|>"}));
  const Tokenizer tokenizer = Tokenizer::from_json(json, "learnt");
  EXPECT_EQ(tokenizer.vocabulary_size(), 260);
  EXPECT_EQ(tokenizer.id_of("<|endoftext|>"), 0);
  // 9 x "es", then 9 x "est", then 7 x "lo" (" l" has 7 too, and the pair of smaller ids goes first).
  EXPECT_TRUE(tokenizer.id_of("es") && tokenizer.id_of("est"));
  EXPECT_FALSE(tokenizer.id_of("ide"));
  for (const char* text : {" lowest", "näive 世界", "a\n\tb"}) EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  EXPECT_EQ(tokenizer.encode("<|endoftext|> low").front(), 0);
}

TEST(TrainBpe, RefusesWhatCannotBe) {
  EXPECT_TRUE(contains(error_of([] { train_bpe_tokenizer({"a"}, 256, {"<|endoftext|>"}); }), "257"));
  EXPECT_NE(error_of([] { train_bpe_tokenizer({}, 300, {}); }), "");
  EXPECT_TRUE(contains(error_of([] { train_bpe_tokenizer({"\xff"}, 300, {}); }), "UTF-8"));
}

}  // namespace
}  // namespace assay
