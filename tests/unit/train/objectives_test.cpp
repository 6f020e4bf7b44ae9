// What the objectives feed the model with and what comes back: masks, packing, preference pairs and their reference.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "assay/base/files.h"
#include "tiny_model.h"

namespace assay {
namespace {

using namespace testing_tools;

/// Mean loss over weighted tokens, one sequence at a time.
double separate_loss(const Transformer& model, const std::vector<Example>& examples) {
  double sum = 0, weight = 0;
  for (const Example& example : examples) {
    TokenBatch batch;
    batch.add(example.ids);
    const std::vector<std::int32_t> targets(example.ids.begin() + 1, example.ids.end());
    const Tensor hidden = model.forward(batch).slice(0, 0, static_cast<std::int64_t>(targets.size()));
    const Tensor logprobs = token_logprobs(model, hidden, targets).to(at::kDouble);
    for (std::size_t i = 1; i < example.ids.size(); ++i) {
      sum -= static_cast<double>(example.weights[i]) * logprobs[static_cast<std::int64_t>(i) - 1].item<double>();
      weight += static_cast<double>(example.weights[i]);
    }
  }
  return sum / weight;
}

TEST(LmObjective, PackedSequencesAndWeightsGiveTheWeightedMeanOfEach) {
  const Transformer model = tiny_model();
  std::vector<Example> examples = counting_examples(6);
  for (std::size_t e = 0; e < examples.size(); ++e) {
    for (std::size_t i = 0; i < examples[e].weights.size(); ++i) examples[e].weights[i] = static_cast<float>((i + e) % 3) * 1.5f;
  }
  std::int64_t tokens = 0;
  for (const Example& example : examples) tokens += static_cast<std::int64_t>(example.ids.size());
  const auto objective = make_lm_objective({{"all", examples, 1.0}}, tokens, 3);
  const StepLoss step = objective->loss(model, 0, 0, Precision::f32);
  EXPECT_EQ(step.tokens, tokens);  // all six fill the batch
  EXPECT_NEAR(step.loss.item<double>(), separate_loss(model, examples), 1e-5);
}

TEST(LmObjective, WhatHasNoWeightHasNoGradient) {
  Transformer model = tiny_model(1, false);
  model.set_requires_grad(true);
  Example example{.ids = {1, 2, 3, 4, 5, 6},
                  .weights = {1, 0, 0, 1, 0, 0}};  // only the prediction of token 4 counts; the first weight is ignored
  const auto gradient = [&] {
    const auto objective = make_lm_objective({{"one", {example}, 1.0}}, 6, 3);
    objective->loss(model, 0, 0, Precision::f32).loss.backward();
    const Tensor of_embedding = model.weights.W_E.grad().clone();
    model.each_parameter([](const std::string&, Tensor& value) { value.mutable_grad() = Tensor(); });
    return of_embedding;
  };
  const Tensor before = gradient();
  for (const std::int64_t id : {1, 2, 3}) EXPECT_GT(before[id].abs().max().item<double>(), 0) << id;  // what stands before it
  for (const std::int64_t id : {4, 5, 6}) EXPECT_EQ(before[id].abs().max().item<double>(), 0) << id;  // itself, and what comes after
  example.ids[5] = 9;
  EXPECT_TRUE(before.equal(gradient()));
}

TEST(LmObjective, BadExamplesAreNamed) {
  const auto fault = [](Example example, std::int64_t batch_tokens) {
    try {
      (void)make_lm_objective({{"docs", {{{1, 2}, {1, 1}}, std::move(example)}, 1.0}}, batch_tokens, 1);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(fault({{1, 2, 3}, {1, 1, 1}}, 3), "no error");
  for (const auto& [example, tokens] : std::vector<std::pair<Example, std::int64_t>>{
           {{{1, 2, 3}, {1, 1, 1}}, 2}, {{{1, 2, 3}, {1, 1}}, 9}, {{{1, 2, 3}, {1, 0, 0}}, 9}, {{{1}, {1}}, 9}, {{{}, {}}, 9}}) {
    const std::string text = fault(example, tokens);
    EXPECT_NE(text.find("'docs' example 1"), std::string::npos) << text;
  }
  EXPECT_THROW((void)make_lm_objective({}, 10, 1), Error);
  EXPECT_THROW((void)make_lm_objective({{"empty", {}, 1.0}}, 10, 1), Error);
  EXPECT_THROW((void)make_lm_objective({{"share", counting_examples(2), 0.0}}, 100, 1), Error);
}

/// A prompt of three tokens; the answers count up or down.
std::vector<PreferencePair> pairs(std::int64_t n) {
  std::vector<PreferencePair> all;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto start = static_cast<TokenId>(3 + i % 15);
    PreferencePair pair;
    pair.chosen.ids = {1, 2, start, static_cast<TokenId>(start + 1), static_cast<TokenId>(start + 2)};
    pair.chosen.weights = {0, 0, 0, 1, 1};
    pair.rejected.ids = {1, 2, start, static_cast<TokenId>(start - 1), static_cast<TokenId>(start - 2), static_cast<TokenId>(start - 3)};
    pair.rejected.weights = {0, 0, 0, 1, 1, 1};
    all.push_back(std::move(pair));
  }
  return all;
}

double answer_logprob(const Transformer& model, const Example& example) {
  double weight = 0;
  for (std::size_t i = 1; i < example.weights.size(); ++i) weight += static_cast<double>(example.weights[i]);
  return -separate_loss(model, {example}) * weight;
}

TEST(DpoObjective, StartsAtLogTwoAndLearnsThePreference) {
  const TemporaryFolder folder;
  Transformer model = tiny_model();
  const Transformer before = model.clone();
  TrainOptions options = quick_options(40);
  options.log_every = 1;
  const auto objective = make_dpo_objective(pairs(20), {.beta = 0.3, .pairs_per_batch = 8}, 4);
  train(model, *objective, options, folder.path(), no_progress());
  const std::string text = read_text(folder.path() / "metrics.jsonl");
  const Json first = Json::parse(text.substr(0, text.find('\n')));
  EXPECT_NEAR(first["loss"].get<double>(), std::log(2.0), 1e-6);
  const std::size_t last_line = text.rfind('\n', text.size() - 2) + 1;
  const Json last = Json::parse(text.substr(last_line));
  EXPECT_EQ(last["accuracy"].get<double>(), 1.0);
  EXPECT_GT(last["margin"].get<double>(), 1.0);
  for (const PreferencePair& pair : pairs(3)) {
    EXPECT_GT(answer_logprob(model, pair.chosen) - answer_logprob(before, pair.chosen),
              answer_logprob(model, pair.rejected) - answer_logprob(before, pair.rejected));
  }
}

TEST(DpoObjective, TheReferenceIsTheModelAtTheStartAndIsCached) {
  const TemporaryFolder folder;
  const Transformer reference = tiny_model(1), policy = tiny_model(2);
  const TrainOptions options = quick_options(1);
  const DpoOptions dpo{.beta = 0.2, .nll_weight = 0.5, .label_smoothing = 0.1, .pairs_per_batch = 4};
  const std::vector<PreferencePair> data = pairs(4);
  const auto objective = make_dpo_objective(data, dpo, 4);
  objective->prepare(reference, options, folder.path(), no_progress());
  const StepLoss step = objective->loss(policy, 0, 0, Precision::f32);
  double expected = 0, nll = 0;
  for (const PreferencePair& pair : data) {
    const double margin = 0.2 * (answer_logprob(policy, pair.chosen) - answer_logprob(reference, pair.chosen) -
                                 answer_logprob(policy, pair.rejected) + answer_logprob(reference, pair.rejected));
    expected += (0.9 * std::log1p(std::exp(-margin)) + 0.1 * std::log1p(std::exp(margin))) / 4;
    nll -= answer_logprob(policy, pair.chosen) / (4 * 2);
  }
  EXPECT_NEAR(step.loss.item<double>(), expected + 0.5 * nll, 1e-5);
  EXPECT_EQ(step.weight, 4);

  // A second objective reads the file; another model or other data make another file.
  const auto count_files = [&] { return std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator{}); };
  EXPECT_EQ(count_files(), 1);
  const auto again = make_dpo_objective(data, dpo, 4);
  again->prepare(reference, options, folder.path(), no_progress());
  EXPECT_EQ(again->loss(policy, 0, 0, Precision::f32).loss.item<double>(), step.loss.item<double>());
  EXPECT_EQ(count_files(), 1);
  EXPECT_EQ(again->describe(), objective->describe());
  again->prepare(policy, options, folder.path(), no_progress());
  EXPECT_EQ(count_files(), 2);
  EXPECT_NE(again->describe(), objective->describe());
}

TEST(DpoObjective, AStoppedRunGoesOnToTheSameBits) {
  class StopAt final : public Progress {
   public:
    void begin(std::string_view name, std::int64_t, std::string_view) override {
      training_ = name.find("reference") == std::string_view::npos;
    }
    void update(std::int64_t done, std::string_view) override { stop_ = training_ && done >= 5; }
    void end(std::string_view) override {}
    void note(std::string_view) override {}
    void warn(std::string_view) override {}
    [[nodiscard]] bool stop_requested() const override { return stop_; }

   private:
    bool training_ = false, stop_ = false;
  } progress;
  const TemporaryFolder folder;
  const auto objective = [] { return make_dpo_objective(pairs(20), {.pairs_per_batch = 6}, 4); };
  Transformer whole = tiny_model(), stopped = tiny_model(), resumed = tiny_model();
  train(whole, *objective(), quick_options(9), folder.path() / "a", no_progress());
  EXPECT_THROW(train(stopped, *objective(), quick_options(9), folder.path() / "b", progress), Interrupted);
  train(resumed, *objective(), quick_options(9), folder.path() / "b", no_progress());
  EXPECT_TRUE(same_bits(whole, resumed));
}

TEST(DpoObjective, TheGradientThroughTheModelAgreesWithFiniteDifferencesInF64) {
  const TemporaryFolder folder;
  const auto in_f64 = [](std::uint64_t seed) {
    Transformer model = tiny_model(seed, false);
    model.each_parameter([](const std::string&, Tensor& value) { value = value.to(at::kDouble); });
    return model;
  };
  Transformer reference = in_f64(1), policy = in_f64(2);
  const auto objective = make_dpo_objective(pairs(3), {.beta = 0.4, .nll_weight = 0.2, .label_smoothing = 0.05, .pairs_per_batch = 3}, 4);
  objective->prepare(reference, quick_options(1), folder.path(), no_progress());
  policy.set_requires_grad(true);
  objective->loss(policy, 0, 0, Precision::f32).loss.backward();
  const auto loss = [&] { return objective->loss(policy, 0, 0, Precision::f32).loss.item<double>(); };
  for (Tensor* parameter : {&policy.weights.W_E, &policy.weights.W_U, &policy.weights.blocks[0].W_K, &policy.weights.blocks[1].W_gate,
                            &policy.weights.ln_final_w}) {
    const Tensor gradient = parameter->grad();
    ASSERT_TRUE(gradient.defined());
    const Tensor direction = gradient / gradient.norm();
    const Tensor values = parameter->detach();
    const double h = 1e-5;
    const double slope = gradient.norm().item<double>();
    values.add_(direction, h);
    const double up = loss();
    values.add_(direction, -2 * h);
    const double down = loss();
    values.add_(direction, h);
    EXPECT_GT(slope, 1e-4);
    EXPECT_NEAR((up - down) / (2 * h), slope, 1e-7 + 1e-6 * slope);
  }
}

TEST(DpoObjective, BadPairsAndSettingsAreRefused) {
  EXPECT_THROW((void)make_dpo_objective({}, {}, 1), Error);
  auto broken = pairs(2);
  broken[1].rejected.weights = {0, 0, 0, 0, 0, 0};
  try {
    (void)make_dpo_objective(broken, {}, 1);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("pair 1, rejected"), std::string::npos) << e.what();
  }
  EXPECT_THROW((void)make_dpo_objective(pairs(2), {.beta = 0}, 1), Error);
  EXPECT_THROW((void)make_dpo_objective(pairs(2), {.label_smoothing = 0.7}, 1), Error);
  EXPECT_THROW((void)make_dpo_objective(pairs(2), {.pairs_per_batch = 0}, 1), Error);
}

}  // namespace
}  // namespace assay
