#include "assay/audit/sample_file.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "../error_of.h"
#include "assay/base/files.h"
#include "assay/corpus/jsonl.h"
#include "assay/text/word_level.h"

namespace assay {
namespace {

/// A chat model of random weights in a folder; its words are w0 … w39.
LanguageModel random_chat_model(const fs::path& folder, std::uint64_t seed) {
  std::vector<std::string> words;
  for (int i = 0; i < 40; ++i) words.push_back("w" + std::to_string(i));
  Tokenizer tokenizer = Tokenizer::from_json(word_level_tokenizer_json(words, {"<end>", "<user>", "<assistant>"}), "test");
  ModelConfig config;
  config.n_layers = 2, config.d_model = 32, config.n_heads = config.n_kv_heads = 2, config.d_head = 16, config.d_mlp = 64;
  config.d_vocab = tokenizer.vocabulary_size();
  config.n_ctx = 48;
  config.initializer_range = 0.2;
  config.eos_ids = {0};
  const ChatTemplate chat(
      "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
      SpecialTokens{.bos = "", .eos = "<end>", .pad = "", .unk = ""});
  save_language_model(folder, {Transformer::random(config, Rng(seed)), std::move(tokenizer), chat, Json::object(), ""}, c10::kFloat);
  return load_language_model(folder);
}

std::vector<NamedPrompt> some_prompts() {
  std::vector<NamedPrompt> prompts;
  for (int i = 0; i < 9; ++i) {
    prompts.push_back({"p" + std::to_string(i), {{"user", "w1 w" + std::to_string(i)}}});
    if (i % 3 == 0) prompts.back().messages.push_back({"assistant", "w7 w8", /*prefilled=*/true});
  }
  return prompts;
}

SampleFileOptions some_options() {
  SampleFileOptions options{.n = 3, .turn = Turn::assistant, .sampling = {}};
  options.sampling.max_new = 8;
  options.sampling.seed = 5;
  options.sampling.max_rows = 4;
  return options;
}

TEST(SampleFile, ARunThatWasCutOffEndsInTheSameFile) {
  const TemporaryFolder folder;
  const LanguageModel model = random_chat_model(folder.path() / "model", 1);
  const auto prompts = some_prompts();
  const fs::path file = folder.path() / "samples.jsonl";
  const auto whole = sample_to_file(model, prompts, some_options(), file, no_progress());
  EXPECT_EQ(whole.samples, 27);
  EXPECT_EQ(whole.resumed, 0);
  const std::string text = read_text(file);
  std::int64_t n = 0;
  for_each_json_line(file, [&](const Json& line, const std::string&) {
    EXPECT_EQ(line.at("stream").get<std::int64_t>(), n);
    EXPECT_EQ(line.at("id"), "p" + std::to_string(n / 3));
    EXPECT_EQ(line.at("index").get<std::int64_t>(), n % 3);
    EXPECT_EQ(line.at("prefill"), n / 3 % 3 == 0 ? "w7 w8" : "");
    for (const char* key : {"text", "tokens", "finish", "logprob", "seed", "messages", "sampling", "model", "turn"})
      EXPECT_TRUE(line.contains(key)) << key;
    ++n;
  });
  EXPECT_EQ(n, 27);

  // Cut in the middle of a line, and with lines of the middle missing, as a kill between samples that finish out of order leaves it.
  std::string holed = text;
  for (const int line : {20, 13, 12, 4}) {
    std::size_t begin = 0;
    for (int i = 0; i < line; ++i) begin = holed.find('\n', begin) + 1;
    holed.erase(begin, holed.find('\n', begin) + 1 - begin);
  }
  for (const std::string& left : {text.substr(0, text.size() / 2), holed, text.substr(0, 10)}) {
    write_text(file, left);
    const auto again = sample_to_file(model, prompts, some_options(), file, no_progress());
    EXPECT_EQ(again.samples, 27);
    EXPECT_EQ(again.resumed, std::count(left.begin(), left.end(), '\n'));
    EXPECT_EQ(again.tokens, whole.tokens);
    EXPECT_EQ(read_text(file), text);
  }
}

TEST(SampleFile, AFileOfAnotherRunIsRefusedAndLeftAlone) {
  const TemporaryFolder folder;
  const LanguageModel model = random_chat_model(folder.path() / "model", 1), other = random_chat_model(folder.path() / "other", 2);
  const fs::path file = folder.path() / "samples.jsonl";
  (void)sample_to_file(model, some_prompts(), some_options(), file, no_progress());
  const std::string text = read_text(file);
  const auto refused = [&](const LanguageModel& m, const std::vector<NamedPrompt>& prompts, const SampleFileOptions& options) {
    const std::string message = error_of([&] { (void)sample_to_file(m, prompts, options, file, no_progress()); });
    EXPECT_EQ(read_text(file), text);
    return message;
  };
  SampleFileOptions options = some_options();
  options.sampling.seed = 6;
  EXPECT_NE(refused(model, some_prompts(), options).find(":1 has 'seed': 5; this run has 6"), std::string::npos);
  options = some_options();
  options.sampling.temperature = 0.5;
  EXPECT_NE(refused(model, some_prompts(), options).find("'sampling'"), std::string::npos);
  options = some_options();
  options.n = 2;
  EXPECT_NE(refused(model, some_prompts(), options).find("'n': 3; this run has 2"), std::string::npos);
  EXPECT_NE(refused(other, some_prompts(), some_options()).find("'model'"), std::string::npos);
  auto prompts = some_prompts();
  prompts[4].messages[0].content += " w9";
  EXPECT_NE(refused(model, prompts, some_options()).find(":13 has 'messages'"), std::string::npos);
  prompts = some_prompts();
  prompts.pop_back();
  EXPECT_NE(refused(model, prompts, some_options()).find("not among the present ones"), std::string::npos);
}

TEST(SampleFile, APromptLongerThanTheContextIsNamedBeforeAnythingIsSampled) {
  const TemporaryFolder folder;
  const LanguageModel model = random_chat_model(folder.path() / "model", 1);
  auto prompts = some_prompts();
  for (int i = 0; i < 60; ++i) prompts[7].messages[0].content += " w1";
  const fs::path file = folder.path() / "samples.jsonl";
  const std::string message = error_of([&] { (void)sample_to_file(model, prompts, some_options(), file, no_progress()); });
  EXPECT_NE(message.find("the prompt with id \"p7\" has 65 tokens"), std::string::npos) << message;
  EXPECT_NE(message.find("context of 48"), std::string::npos) << message;
  EXPECT_FALSE(fs::exists(file));
}

TEST(SampleFile, ASecondWriterAndAFullDiskAreErrors) {
  const TemporaryFolder folder;
  const LanguageModel model = random_chat_model(folder.path() / "model", 1);
  const fs::path file = folder.path() / "samples.jsonl";
  {
    const LineAppender first(file);
    EXPECT_NE(error_of([&] {
                (void)sample_to_file(model, some_prompts(), some_options(), file, no_progress());
              }).find("is being written by another process"),
              std::string::npos);
  }
  EXPECT_NE(
      error_of([&] { (void)sample_to_file(model, some_prompts(), some_options(), "/dev/full", no_progress()); }).find("the disk is full"),
      std::string::npos);
}

TEST(NamedPrompts, HaveTheirIdOrTheirNumber) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "prompts.json";
  const auto read = [&](const char* text) {
    write_text(file, text);
    return read_named_prompts(file);
  };
  const auto wrapped = read(R"({"prompts": [{"id": 7, "text": "a"}, {"id": "x", "text": "b"}]})");
  EXPECT_EQ(wrapped[0].id, 7);
  EXPECT_EQ(wrapped[1].id, "x");
  EXPECT_EQ(read(R"(["a", "b"])")[1].id, 1);
  EXPECT_NE(error_of([&] { (void)read("{\"id\": 1, \"text\": \"a\"}\n{\"id\": 1, \"text\": \"b\"}\n"); }).find(":2 has the id 1, as "),
            std::string::npos);
  EXPECT_NE(error_of([&] { (void)read(R"([{"id": [1], "text": "a"}])"); }).find("'id' must be"), std::string::npos);
  EXPECT_NE(error_of([&] { (void)read(R"([{"messages": []}])"); }).find("'messages' is empty"), std::string::npos);
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  EXPECT_NE(error_of([&] { (void)read(deep.c_str()); }).find("nested"), std::string::npos);
}

}  // namespace
}  // namespace assay
