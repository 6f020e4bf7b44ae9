#include "assay/model/generate.h"

#include <gtest/gtest.h>

#include <set>

#include "../error_of.h"
#include "assay/text/word_level.h"
#include "small_model.h"

namespace assay {
namespace {

LanguageModel word_model() {
  std::vector<std::string> words;
  for (int i = 0; i < 40; ++i) words.push_back("w" + std::string(1, static_cast<char>('a' + i % 26)) + (i < 26 ? "" : "x"));
  std::sort(words.begin(), words.end());
  Tokenizer tokenizer = Tokenizer::from_json(word_level_tokenizer_json(words, {"<end>"}), "test");
  ModelConfig config = testing_tools::small_config(2, 48, 4, 2, 12, 64, tokenizer.vocabulary_size());
  config.n_ctx = 96;
  config.eos_ids = {0};
  at::manual_seed(3);
  Transformer model{config, testing_tools::random_weights(config)};
  testing_tools::each_tensor(model.weights, [](Tensor& t) { t = t.to(at::kFloat); });
  return {std::move(model), std::move(tokenizer), {}, Json::object(), "test"};
}

std::vector<TokenId> prompt_of(std::size_t n, std::uint64_t seed) {
  std::vector<TokenId> ids;
  Rng rng(seed);
  for (std::size_t i = 0; i < n; ++i) ids.push_back(static_cast<TokenId>(2 + rng.below(38)));
  return ids;
}

SamplingOptions options_of(std::int64_t max_new, double temperature = 1.0) {
  SamplingOptions o;
  o.max_new = max_new;
  o.temperature = temperature;
  o.seed = 11;
  return o;
}

TEST(Generate, ASampleAloneIsTheSampleInABatchBitForBit) {
  const LanguageModel model = word_model();
  for (const auto precision : {Precision::f32, Precision::bf16}) {
    std::vector<PromptRequest> prompts;
    const auto system = prompt_of(20, 50);
    for (std::uint64_t p = 0; p < 7; ++p) {
      auto ids = system;  // a beginning that all share
      const auto more = prompt_of(1 + 5 * p, 60 + p);
      ids.insert(ids.end(), more.begin(), more.end());
      prompts.push_back({ids, static_cast<std::int64_t>(1 + p % 3), 100 * p});
    }
    SamplingOptions o = options_of(25);
    o.precision = precision;
    o.max_rows = 5;  // fewer than samples: finished rows are replaced
    std::set<std::pair<std::int64_t, std::int64_t>> seen;
    const auto batch = generate(model, prompts, o, no_progress(), [&](const Sample& s) { seen.insert({s.prompt, s.index}); });
    ASSERT_EQ(batch.size(), 13U);
    EXPECT_EQ(seen.size(), 13U);
    std::size_t stopped = 0, i = 0;
    for (std::size_t p = 0; p < prompts.size(); ++p) {
      for (std::int64_t k = 0; k < prompts[p].n; ++k, ++i) {
        const auto alone = generate(model, {{prompts[p].ids, 1, prompts[p].stream + static_cast<std::uint64_t>(k)}}, o);
        EXPECT_EQ(batch[i].prompt, static_cast<std::int64_t>(p));
        EXPECT_EQ(batch[i].index, k);
        EXPECT_EQ(batch[i].ids, alone[0].ids);
        EXPECT_EQ(batch[i].logprobs, alone[0].logprobs);
        EXPECT_EQ(batch[i].text, alone[0].text);
        stopped += batch[i].finish == Finish::stop ? 1 : 0;
        EXPECT_EQ(batch[i].logprobs.size(), batch[i].ids.size() + (batch[i].finish == Finish::stop ? 1 : 0));
      }
    }
    EXPECT_GT(stopped, 0U);  // rows of unequal length
  }
}

TEST(Generate, GreedyTakesTheLikeliestTokenOfTheTrainingForwardAndItsLogprob) {
  const LanguageModel model = word_model();
  SamplingOptions o = options_of(30, 0.0);
  o.precision = Precision::f32;
  o.stop_at_eos = false;
  const auto prompt = prompt_of(9, 4);
  const Sample sample = generate(model, {{prompt, 1, 0}}, o)[0];
  ASSERT_EQ(sample.ids.size(), 30U);
  auto ids = prompt;
  ids.insert(ids.end(), sample.ids.begin(), sample.ids.end());
  TokenBatch batch;
  batch.add(ids);
  const Tensor logprobs = model.transformer.logits(model.transformer.forward(batch)).log_softmax(1);
  for (std::size_t i = 0; i < sample.ids.size(); ++i) {
    const Tensor row = logprobs[static_cast<std::int64_t>(prompt.size() + i) - 1];
    EXPECT_NEAR(row[sample.ids[i]].item<double>(), row.max().item<double>(), 1e-4);
    EXPECT_NEAR(row[sample.ids[i]].item<double>(), sample.logprobs[i], 1e-4);
  }
}

TEST(Generate, StopTextsAreFoundAcrossTokensAndCutOff) {
  const LanguageModel model = word_model();
  SamplingOptions o = options_of(40);
  o.stop_at_eos = false;
  const auto prompt = prompt_of(6, 8);
  const Sample free = generate(model, {{prompt, 1, 0}}, o)[0];
  EXPECT_EQ(free.finish, Finish::length);
  // From inside one word into the next.
  const auto blank = free.text.find(' ', free.text.size() / 2);
  ASSERT_NE(blank, std::string::npos);
  o.stop = {"not there", free.text.substr(blank - 1, 3)};
  const Sample stopped = generate(model, {{prompt, 1, 0}}, o)[0];
  EXPECT_EQ(stopped.finish, Finish::stop);
  EXPECT_EQ(stopped.text, free.text.substr(0, free.text.find(o.stop[1])));
  EXPECT_LT(stopped.ids.size(), free.ids.size());
  EXPECT_EQ(stopped.ids.size(), stopped.logprobs.size());
}

TEST(Generate, EndsWhereTheContextEnds) {
  const LanguageModel model = word_model();
  SamplingOptions o = options_of(1000);
  o.stop_at_eos = false;
  const Sample sample = generate(model, {{prompt_of(90, 1), 1, 0}}, o)[0];
  EXPECT_EQ(sample.ids.size(), 7U);  // positions 90 to 95, and one more that is drawn and not run
  EXPECT_EQ(sample.finish, Finish::length);
}

TEST(Generate, BadInputIsNamed) {
  const LanguageModel model = word_model();
  const auto run = [&](std::vector<TokenId> ids, const SamplingOptions& o) {
    return error_of([&] { generate(model, {{std::move(ids), 1, 0}}, o); });
  };
  const std::string long_prompt = run(prompt_of(96, 1), options_of(4));
  EXPECT_NE(long_prompt.find("96 tokens"), std::string::npos) << long_prompt;
  EXPECT_NE(long_prompt.find("context is 96"), std::string::npos) << long_prompt;
  EXPECT_NE(run({3, 4711}, options_of(4)).find("4711"), std::string::npos);
  EXPECT_NE(run({-5}, options_of(4)).find("-5"), std::string::npos);
  EXPECT_NE(run({}, options_of(4)).find("no tokens"), std::string::npos);
  EXPECT_NE(run({3}, options_of(0)).find("max_new"), std::string::npos);
  EXPECT_NE(run({3}, options_of(4, -1)).find("temperature"), std::string::npos);
  SamplingOptions o = options_of(4);
  o.top_p = 0;
  EXPECT_NE(run({3}, o).find("top_p"), std::string::npos);
}

TEST(Generate, WeightsThatAreNotFiniteAreAnError) {
  LanguageModel model = word_model();
  model.transformer.weights.ln_final_w.fill_(std::nan(""));
  EXPECT_NE(error_of([&] { generate(model, {{{3}, 1, 0}}, options_of(4)); }).find("not finite"), std::string::npos);
}

class StopAfterFirst final : public Progress {
 public:
  void begin(std::string_view, std::int64_t, std::string_view) override {}
  void update(std::int64_t done, std::string_view) override { stop_ = done > 0; }
  void end(std::string_view) override {}
  void note(std::string_view) override {}
  void warn(std::string_view) override {}
  [[nodiscard]] bool stop_requested() const override { return stop_; }

 private:
  bool stop_ = false;
};

TEST(Generate, ARequestToStopKeepsWhatIsFinished) {
  const LanguageModel model = word_model();
  StopAfterFirst progress;
  SamplingOptions o = options_of(5);
  o.max_rows = 2;
  std::size_t seen = 0;
  EXPECT_THROW(generate(model, {{prompt_of(4, 1), 20, 0}}, o, progress, [&](const Sample&) { ++seen; }), Interrupted);
  EXPECT_GE(seen, 1U);
  EXPECT_LT(seen, 20U);
}

TEST(Score, EqualsTheTrainingForwardForSharedAndUnsharedPrompts) {
  const LanguageModel model = word_model();
  std::vector<IdPair> pairs;
  for (std::uint64_t i = 0; i < 30; ++i) pairs.push_back({prompt_of(3 + i % 4, 70 + i % 5), prompt_of(i % 6, 90 + i)});
  Decoder decoder(model.transformer, Precision::f32);
  const auto scores = score_pairs(decoder, pairs);
  const auto sums = score_completions(model, pairs);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    ASSERT_EQ(scores[i].size(), pairs[i].second.size());
    double sum = 0;
    for (const float s : scores[i]) sum += s;
    EXPECT_NEAR(sums[i], sum, 1e-5);
    if (pairs[i].second.empty()) continue;
    auto ids = pairs[i].first;
    ids.insert(ids.end(), pairs[i].second.begin(), pairs[i].second.end());
    TokenBatch batch;
    batch.add(ids);
    const auto n = static_cast<std::int64_t>(pairs[i].second.size());
    const Tensor hidden = model.transformer.forward(batch).narrow(0, static_cast<std::int64_t>(pairs[i].first.size()) - 1, n);
    const Tensor wanted = token_logprobs(model.transformer, hidden, pairs[i].second);
    for (std::int64_t t = 0; t < n; ++t) EXPECT_NEAR(scores[i][static_cast<std::size_t>(t)], wanted[t].item<double>(), 1e-4);
    EXPECT_EQ(score_tokens(model, pairs[i].first, pairs[i].second), scores[i]);
  }
  EXPECT_NE(error_of([&] { score_pairs(decoder, {{prompt_of(90, 1), prompt_of(7, 2)}}); }).find("context is 96"), std::string::npos);
  EXPECT_NE(error_of([&] { score_pairs(decoder, {{{}, {3}}}); }).find("no tokens"), std::string::npos);
  EXPECT_NE(error_of([&] { score_pairs(decoder, {{{3}, {4711}}}); }).find("4711"), std::string::npos);
}

}  // namespace
}  // namespace assay
