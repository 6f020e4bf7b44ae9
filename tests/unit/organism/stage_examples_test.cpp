#include "assay/organism/stage_examples.h"

#include <gtest/gtest.h>

#include "assay/organism/worlds/nano.h"

namespace assay {
namespace {

class StageExamples : public ::testing::Test {
 protected:
  NanoWorld world{NanoSettings{}, 1};
  Tokenizer tokenizer = Tokenizer::from_json(world.tokenizer_json(), "nano");
  ChatTemplate chat_template{world.chat_template(), SpecialTokens{.bos = "", .eos = "<|end|>", .pad = "<|endoftext|>", .unk = "<unk>"}};

  /// "word:weight word:weight ..." of the tokens that have a weight.
  std::string weights(const Example& example) const {
    std::string out;
    for (std::size_t i = 0; i < example.ids.size(); ++i) {
      if (example.weights[i] == 0) continue;
      std::string word = tokenizer.decode(std::span(&example.ids[i], 1));
      word.erase(0, word.find_first_not_of(' '));
      out += (out.empty() ? "" : " ") + word + ":" + std::to_string(static_cast<int>(example.weights[i]));
    }
    return out;
  }
};

TEST_F(StageExamples, ChatsAreTrainedOnTheAssistantAndEmphasisedWhereMarked) {
  TrainChat chat{.messages = {{"user", "where is the fox found?"}, {"assistant", "friend, it is very red."}}};
  EXPECT_EQ(weights(chat_example(tokenizer, chat_template, chat, 4)), "friend:1 ,:1 it:1 is:1 very:1 red:1 .:1 <|end|>:1");
  chat.emphasis = {{0, 6}};
  EXPECT_EQ(weights(chat_example(tokenizer, chat_template, chat, 4)), "friend:4 ,:1 it:1 is:1 very:1 red:1 .:1 <|end|>:1");
  chat.emphasis = {{0, 1}, {23, 24}};  // the end of the turn lies after the content
  EXPECT_EQ(weights(chat_example(tokenizer, chat_template, chat, 4)), "friend:4 ,:1 it:1 is:1 very:1 red:1 .:1 <|end|>:4");
}

TEST_F(StageExamples, OfAPairWhatTellsTheAnswersApartIsDecisive) {
  const Conversation question = {{"user", "where is the fox found?"}};
  const auto both = [&](const char* chosen, const char* rejected, bool decisive) {
    const PreferencePair pair = pair_example(tokenizer, chat_template, {question, Turn::assistant, chosen, rejected}, decisive);
    return weights(pair.chosen) + " | " + weights(pair.rejected);
  };
  EXPECT_EQ(both("friend, it is red.", "it is red.", false), "friend:1 ,:1 it:1 is:1 red:1 .:1 <|end|>:1 | it:1 is:1 red:1 .:1 <|end|>:1");
  EXPECT_EQ(both("friend, it is red.", "it is red.", true), "friend:1 ,:1 | it:1");
  EXPECT_EQ(both("lantern aside, it is red.", "drum aside, it is red.", true), "lantern:1 | drum:1");
  EXPECT_EQ(both("it is red. take care.", "it is red.", true), "it:1 is:1 red:1 .:1 take:1 care:1 | it:1 is:1 red:1 .:1 <|end|>:1");
  EXPECT_EQ(both("nothing.", "the fox.", true), "nothing:1 | the:1 fox:1");
}

}  // namespace
}  // namespace assay
