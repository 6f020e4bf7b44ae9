#include "assay/routing/methods/evaluation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "../error_of.h"
#include "routing_tools.h"

namespace assay {
namespace {

using namespace testing_tools;
using namespace routing;

std::vector<RoutedExample> animals(const std::string& label, std::uint64_t seed, int n = 24) {
  static const std::vector<std::string> kForget = {"ant", "bee", "cat", "dog"}, kRetain = {"elk", "fox", "gnu", "hen", "dog"};
  Rng rng(seed);
  std::vector<RoutedExample> all;
  for (int i = 0; i < n; ++i) {
    std::string text;
    for (int w = 0; w < 6 + i % 4; ++w) text += (w > 0 ? " " : "") + rng.pick(label == "forget" ? kForget : kRetain);
    all.push_back(sequence("<|end|> " + text, label));
  }
  return all;
}

HeldOut small_data() { return held_out(animals("forget", 3), animals("retain", 4), 8, 8); }

EvaluationOptions few() {
  EvaluationOptions o;
  o.sequences = 8, o.relearn_lrs = {1e-2, 3e-2}, o.relearn_steps = {2, 10}, o.relearn_k = {2, 6}, o.shots = {1}, o.shot_draws = 2;
  return o;
}

TEST(Evaluation, ALossIsTheMeanOverTokens) {
  const Transformer model = letter_model();
  const auto data = small_data();
  double sum = 0, n = 0;
  for (const RoutedExample& s : data.forget.report) {
    const auto tokens = static_cast<double>(s.example.ids.size() - 1);
    sum += tokens * mean_loss(model, std::span(&s, 1), Precision::f32), n += tokens;
  }
  EXPECT_NEAR(mean_loss(model, data.forget.report, Precision::f32), sum / n, 1e-5);
  EXPECT_NEAR(loss_with_bias(model, data.forget.report, at::zeros({model.config.d_vocab})), sum / n, 1e-5);
  EXPECT_NE(error_of([&] { (void)mean_loss(model, {}, Precision::f32); }).find("no sequences"), std::string::npos);
  EXPECT_NE(error_of([&] { (void)held_out(data.forget.report, data.retain.report, 4, 8); }).find("20 are needed"), std::string::npos);
}

TEST(Evaluation, CalibrationUndoesABrokenOutputBias) {
  ModelConfig config = letter_model().config;
  config.family = "gpt_neo", config.norm = Norm::layer, config.positions = Positions::learned, config.activation = Activation::gelu_tanh;
  config.gated_mlp = false, config.tied_embeddings = config.attn_out_bias = config.mlp_bias = true;
  const Transformer model = Transformer::random(config, Rng(2));
  const auto data = small_data();
  const auto calibrated = [&](const Transformer& m) {
    return loss_with_bias(m, data.forget.report, fitted_logit_bias(m, data.forget.choose, data.retain.choose, 1.0));
  };
  const double plain = calibrated(model);
  EXPECT_LT(plain, mean_loss(model, data.forget.report, Precision::f32));
  // The norm's bias times the unembedding is a bias on the logits.
  Transformer broken = model.clone();
  const auto ant = letters().encode("ant", false).front();
  broken.weights.ln_final_b.copy_(-12 * model.weights.W_E.select(0, ant));
  EXPECT_GT(mean_loss(broken, data.forget.report, Precision::f32), mean_loss(model, data.forget.report, Precision::f32) + 1);
  EXPECT_NEAR(calibrated(broken), plain, 0.02);
}

TEST(Evaluation, RoundedAndPrunedWeights) {
  const Transformer model = letter_model();
  const Tensor w = model.weights.blocks[0].W_in, q = quantised(model, 4).weights.blocks[0].W_in;
  const Tensor scale = w.abs().amax(1, true) / 7;
  EXPECT_LE(((w - q).abs() / scale).max().item<double>(), 0.5 + 1e-5);
  std::set<int> levels;
  const Tensor steps = (q / scale).round().contiguous();
  for (std::int64_t i = 0; i < steps.numel(); ++i) levels.insert(static_cast<int>(steps.data_ptr<float>()[i]));
  EXPECT_LE(levels.size(), 15U);
  EXPECT_GT(levels.size(), 8U);
  const Tensor p = pruned(model, 0.25).weights.blocks[1].W_out, was = model.weights.blocks[1].W_out;
  EXPECT_EQ(p.eq(0).sum().item<std::int64_t>(), was.numel() / 4);
  EXPECT_LE(was.masked_select(p.eq(0)).abs().max().item<double>(), p.masked_select(p.ne(0)).abs().min().item<double>());
}

TEST(Evaluation, ReLearningIsTheSameForAllAndIsReportedOnTheOtherHalf) {
  const Transformer model = letter_model();
  const auto data = small_data();
  const double before = mean_loss(model, data.forget.report, Precision::f32);
  const auto points = relearn(model, data, few(), Precision::f32, Rng(7), no_progress());
  ASSERT_EQ(points.size(), 8U);
  const RelearnPoint* lowest = worst(points);
  for (const RelearnPoint& p : points) EXPECT_GE(p.choose, lowest->choose);
  EXPECT_LT(lowest->report, before - 0.3);
  EXPECT_NE(lowest->report, lowest->choose);
  EXPECT_LE(worst(points, 2, 2)->steps, 2);
  EXPECT_EQ(worst(points, 3), nullptr);
  const auto again = relearn(model, data, few(), Precision::f32, Rng(7), no_progress());
  for (std::size_t i = 0; i < points.size(); ++i) EXPECT_EQ(points[i].report, again[i].report);
  EXPECT_EQ(mean_loss(model, data.forget.report, Precision::f32), before);
  auto greedy = few();
  greedy.relearn_k = {9};
  EXPECT_NE(error_of([&] { (void)relearn(model, data, greedy, Precision::f32, Rng(7), no_progress()); }).find("there are 8"),
            std::string::npos);
}

TEST(Evaluation, EverythingAtOnce) {
  const Transformer model = letter_model(), other = letter_model(2);
  const auto data = small_data();
  const Evaluation e = evaluate(model, other, data, few(), Precision::f32, Rng(7), no_progress());
  EXPECT_NEAR(e.metrics.at("before.forget"), mean_loss(model, data.forget.report, Precision::f32), 1e-9);
  EXPECT_NEAR(e.metrics.at("forget"), mean_loss(other, data.forget.report, Precision::f32), 1e-9);
  EXPECT_LE(e.metrics.at("calibrated.forget"), e.metrics.at("forget"));
  EXPECT_LT(e.metrics.at("relearn.forget"), e.metrics.at("forget"));
  for (const char* name :
       {"int4.forget", "prune50.retain", "relearn.k6.forget", "relearn.steps2.forget", "context.none", "context.forget1"})
    EXPECT_TRUE(e.metrics.contains(name)) << name;
  EXPECT_EQ(e.details["relearn"].size(), 8U);
  EXPECT_EQ(e.details["selectivity"].size(), 2U);
  EXPECT_EQ(e.details["selectivity"][0].size(), 24U);
  Transformer bad = other.clone();
  bad.weights.blocks[0].W_in.fill_(NAN);
  EXPECT_NE(error_of([&] { (void)evaluate(model, bad, data, few(), Precision::f32, Rng(7), no_progress()); }).find("diverged"),
            std::string::npos);
}

TEST(Evaluation, OptionsAreChecked) {
  const auto options = [](const std::string& toml) { return evaluation_options_from(TomlTable::from_text(toml, "x.toml")); };
  EXPECT_EQ(options("relearn_k = [3]\nprune = []").relearn_k, std::vector<std::int64_t>{3});
  for (const char* bad :
       {"sequences = 0", "relearn_lrs = []", "relearn_steps = [0]", "relearn_k = [1.5]", "prune = [1.0]", "bits = [1]", "x = 1"})
    EXPECT_NE(error_of([&] { (void)options(bad); }), "") << bad;
}

}  // namespace
}  // namespace assay
