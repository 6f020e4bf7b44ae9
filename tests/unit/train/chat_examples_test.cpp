#include "assay/train/chat_examples.h"

#include <gtest/gtest.h>

#include "assay/base/error.h"
#include "assay/text/word_level.h"

namespace assay {
namespace {

const SpecialTokens kSpecial{.bos = "", .eos = "<|end|>", .pad = "", .unk = ""};

// Plain; marked with {% generation %}; and one that adds a thought to the last answer only, so that no rendering is a prefix of the next.
const std::string kPlain =
    "{% for m in messages %}<|{{ m.role }}|> {{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
const std::string kMarked =
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}{% generation %} {{ m.content }}<|end|>{% endgeneration %}{% "
    "else %} {{ m.content }}<|end|>{% endif %}{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
const std::string kThinking =
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' and loop.last %} think{% endif %} {{ m.content }}<|end|>\n{% "
    "endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}";
// The generation prompt says more than the rendering of an answer does.
const std::string kOpened =
    "{% for m in messages %}<|{{ m.role }}|> {{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|> think{% endif "
    "%}";

Json messages(std::initializer_list<std::pair<const char*, const char*>> turns) {
  Json all = Json::array();
  for (const auto& [role, content] : turns) all.push_back({{"role", role}, {"content", content}});
  return all;
}

Tokenizer tokenizer() {
  return Tokenizer::from_json(word_level_tokenizer_json({"bye", "hello", "hi", "the", "then", "think", "word"},
                                                        {"<|user|>", "<|assistant|>", "<|system|>", "<|end|>"}),
                              "test");
}

/// The tokens with weight 1, spaces shown as the tokenizer has them; sequences of them separated by "/".
std::string trained(const Example& example, const Tokenizer& tokenizer) {
  std::string text;
  for (std::size_t i = 0; i < example.ids.size(); ++i) {
    if (example.weights[i] == 0) {
      if (!text.empty() && text.back() != '/') text += '/';
    } else {
      text += tokenizer.token_of(example.ids[i]);
    }
  }
  while (!text.empty() && text.back() == '/') text.pop_back();
  return text;
}

TEST(ChatExamples, OnlyTheAssistantsTokensAreTrained) {
  const Tokenizer words = tokenizer();
  const Json chat =
      messages({{"system", "the word"}, {"user", "hello"}, {"assistant", "hi then"}, {"user", "hello then"}, {"assistant", "bye"}});
  for (const std::string& source : {kPlain, kMarked, kOpened}) {
    const ChatTemplate chat_template(source, kSpecial);
    const Example example = chat_example(chat_template, words, chat, "test");
    EXPECT_EQ(trained(example, words), "hithen<|end|>/bye<|end|>") << source;
    EXPECT_EQ(example.ids, words.encode(chat_template.render(chat).text, false)) << source;
  }
  EXPECT_EQ(trained(chat_example(ChatTemplate(kThinking, kSpecial), words, chat, "test"), words), "hithen<|end|>/thinkbye<|end|>");
}

TEST(ChatExamples, AnAnswerThatRepeatsTheQuestionIsFoundInItsOwnPlace) {
  const Tokenizer words = tokenizer();
  const Json chat = messages({{"user", "hello"}, {"assistant", "hello"}, {"user", "hello"}, {"assistant", "hello"}, {"user", "hello"}});
  for (const std::string& source : {kPlain, kMarked, kThinking, kOpened}) {
    const Example example = chat_example(ChatTemplate(source, kSpecial), words, chat, "test");
    EXPECT_EQ(trained(example, words), "hello<|end|>/hello<|end|>") << source;
    EXPECT_EQ(example.weights[1], 0) << source;  // the user's
  }
}

TEST(ChatExamples, SpansAreCodePoints) {
  const Json chat = messages({{"user", "naïve 北京"}, {"assistant", "ünï"}});
  for (const std::string& source : {kPlain, kMarked}) {
    const AssistantText text = assistant_text(ChatTemplate(source, kSpecial), chat, "test");
    ASSERT_EQ(text.spans.size(), 1u);
    // "<|user|> naïve 北京<|end|>\n<|assistant|>" has 8+1+5+1+2+7+1+13 = 38 code points; " ünï<|end|>" has 11.
    EXPECT_EQ(text.spans[0], (std::pair<std::uint32_t, std::uint32_t>{38, 49})) << source;
  }
}

TEST(ChatExamples, PairsTrainTheLastAnswersOnly) {
  const Tokenizer words = tokenizer();
  for (const std::string& source : {kPlain, kMarked}) {
    const PreferencePair pair = preference_example(ChatTemplate(source, kSpecial), words,
                                                   {.prompt = messages({{"user", "hello"}, {"assistant", "hi"}, {"user", "word"}}),
                                                    .chosen = messages({{"assistant", "bye then"}}),
                                                    .rejected = messages({{"assistant", "the"}}),
                                                    .where = "test"});
    EXPECT_EQ(trained(pair.chosen, words), "byethen<|end|>") << source;
    EXPECT_EQ(trained(pair.rejected, words), "the<|end|>") << source;
  }
}

TEST(ChatExamples, WhatCannotBeTrainedIsNamed) {
  const Tokenizer words = tokenizer();
  const auto fault = [&](const std::string& source, const Json& chat) {
    try {
      (void)chat_example(ChatTemplate(source, kSpecial), words, chat, "chats.jsonl:7");
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_NE(fault(kPlain, messages({{"user", "hello"}})).find("chats.jsonl:7"), std::string::npos);
  EXPECT_NE(fault(kPlain, Json::array()).find("chats.jsonl:7"), std::string::npos);
  const std::string upper = "{% for m in messages %}{{ m.content | upper }}{% if loop.last %}x{% endif %}{% endfor %}";
  EXPECT_NE(fault(upper, messages({{"user", "a"}, {"assistant", "hi"}, {"user", "b"}})).find("{% generation %}"), std::string::npos);
}

TEST(ChatExamples, DocumentsAreWholeAndLongOnesAreSplit) {
  const Tokenizer words = tokenizer();
  const TokenId end = *words.id_of("<|end|>");
  const Example example = document_example(words, "the word then hello", -1, end);
  EXPECT_EQ(trained(example, words), "thewordthenhello<|end|>");
  const auto pieces = split_example(example, 2);
  ASSERT_EQ(pieces.size(), 2u);  // the fifth token alone would predict nothing
  EXPECT_EQ(pieces[1].ids, (std::vector<TokenId>{example.ids[2], example.ids[3]}));
  EXPECT_EQ(split_example(example, 5).size(), 1u);
}

}  // namespace
}  // namespace assay
