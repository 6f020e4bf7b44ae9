#include "assay/train/trainer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "../error_of.h"
#include "assay/base/files.h"
#include "tiny_model.h"

namespace assay {
namespace {

using namespace testing_tools;

void expect_contains(const std::string& text, const std::string& part) { EXPECT_NE(text.find(part), std::string::npos) << text; }

std::vector<Json> metrics(const fs::path& folder) {
  std::vector<Json> lines;
  const std::string text = read_text(folder / "metrics.jsonl");
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    Json line = Json::parse(text.substr(begin, end - begin));
    line.erase("cpu_s");
    line.erase("wall_s");
    lines.push_back(std::move(line));
    begin = end + 1;
  }
  return lines;
}

/// Stops once `steps` are behind.
class StopAfter final : public Progress {
 public:
  explicit StopAfter(std::int64_t steps) : steps_(steps) {}
  void begin(std::string_view, std::int64_t, std::string_view) override {}
  void update(std::int64_t done, std::string_view) override { done_ = done; }
  void end(std::string_view) override {}
  void note(std::string_view) override {}
  void warn(std::string_view) override {}
  [[nodiscard]] bool stop_requested() const override { return done_ >= steps_; }

 private:
  std::int64_t steps_, done_ = 0;
};

TEST(Trainer, LearnsToCount) {
  for (const Precision precision : {Precision::f32, Precision::bf16}) {
    const TemporaryFolder folder;
    Transformer model = tiny_model();
    TrainOptions options = quick_options(150);
    options.precision = precision;
    const auto objective = counting_objective();
    const TrainResult result = train(model, *objective, options, folder.path() / "run", no_progress());
    EXPECT_EQ(result.steps, 150);
    EXPECT_GT(result.tokens, 150 * 50);
    EXPECT_LT(result.final_loss, 0.3);  // log 23 = 3.14 at the start; the first token cannot be known, but it is not predicted
    const auto lines = metrics(folder.path() / "run");
    EXPECT_EQ(lines.size(), 50u);
    EXPECT_GT(lines.front()["loss"].get<double>(), 2.0);
    EXPECT_EQ(lines.back()["step"], 150);
    EXPECT_EQ(lines.back()["tokens"], result.tokens);
    model.each_parameter(
        [](const std::string& name, const Tensor& value) { EXPECT_FALSE(value.requires_grad() || value.grad().defined()) << name; });
  }
}

TEST(Trainer, AStoppedRunGoesOnToTheSameBits) {
  const TemporaryFolder folder;
  Transformer whole = tiny_model(), stopped = tiny_model();
  const auto once = counting_objective();
  const TrainResult expected = train(whole, *once, quick_options(20), folder.path() / "whole", no_progress());
  for (const std::int64_t stop : {1, 6, 8, 19}) {  // between checkpoints and on one
    StopAfter progress(stop);
    Transformer start = tiny_model();
    const auto objective = counting_objective();
    EXPECT_THROW(train(start, *objective, quick_options(20), folder.path() / "stopped", progress), Interrupted);
  }
  const auto objective = counting_objective();
  const TrainResult result = train(stopped, *objective, quick_options(20), folder.path() / "stopped", no_progress());
  EXPECT_TRUE(same_bits(whole, stopped));
  EXPECT_EQ(result.final_loss, expected.final_loss);
  EXPECT_EQ(result.tokens, expected.tokens);
  EXPECT_EQ(metrics(folder.path() / "stopped"), metrics(folder.path() / "whole"));

  // A finished run hands its result over without training.
  Transformer again = tiny_model();
  const auto third = counting_objective();
  EXPECT_EQ(train(again, *third, quick_options(20), folder.path() / "stopped", no_progress()).final_loss, expected.final_loss);
  EXPECT_TRUE(same_bits(whole, again));
}

TEST(Trainer, OtherSettingsAreRefusedByName) {
  const TemporaryFolder folder;
  const auto attempt = [&](const TrainOptions& options, std::unique_ptr<Objective> objective, Transformer model) {
    return error_of([&] { train(model, *objective, options, folder.path(), no_progress()); });
  };
  ASSERT_EQ(attempt(quick_options(4), counting_objective(), tiny_model()), "");
  TrainOptions other = quick_options(4);
  other.lr = 0.02;
  expect_contains(attempt(other, counting_objective(), tiny_model()), "options.lr: 0.01 in the folder, 0.02 asked for");
  other = quick_options(4);
  other.schedule = Schedule::wsd;
  expect_contains(attempt(other, counting_objective(), tiny_model()), "options.schedule");
  expect_contains(attempt(quick_options(4), counting_objective(10), tiny_model()), "objective.seed: 9 in the folder, 10 asked for");
  expect_contains(
      attempt(quick_options(4), make_lm_objective({{"a", counting_examples(29), 2.0}, {"b", counting_examples(20, 6), 1.0}}, 64, 9),
              tiny_model()),
      "objective.parts");
  expect_contains(attempt(quick_options(4), counting_objective(), tiny_model(1, false)), "parameters.");
  other = quick_options(4);
  other.log_every = 1;
  other.checkpoint_every = 1;
  EXPECT_EQ(attempt(other, counting_objective(), tiny_model()), "");  // these do not touch the result
}

TEST(Trainer, AnotherStartIsRefused) {
  const TemporaryFolder folder;
  const auto attempt = [&](Transformer model) {
    const auto objective = counting_objective();
    return error_of([&] { train(model, *objective, quick_options(4), folder.path(), no_progress()); });
  };
  ASSERT_EQ(attempt(tiny_model(1)), "");
  EXPECT_EQ(attempt(tiny_model(1)), "");
  expect_contains(attempt(tiny_model(2)), "start: ");
}

TEST(Trainer, ASecondUserOfTheFolderIsRefused) {
  const TemporaryFolder folder;
  const FolderLock lock(folder.path());
  Transformer model = tiny_model();
  const auto objective = counting_objective();
  expect_contains(error_of([&] { train(model, *objective, quick_options(4), folder.path(), no_progress()); }), folder.path().string());
}

TEST(Trainer, ABrokenCheckpointIsAClearError) {
  const TemporaryFolder folder;
  Transformer model = tiny_model();
  StopAfter progress(5);
  auto objective = counting_objective();
  EXPECT_THROW(train(model, *objective, quick_options(10), folder.path(), progress), Interrupted);
  const fs::path checkpoint = folder.path() / "checkpoint.safetensors";
  fs::resize_file(checkpoint, fs::file_size(checkpoint) / 2);
  expect_contains(error_of([&] { train(model, *objective, quick_options(10), folder.path(), no_progress()); }), "checkpoint.safetensors");
}

/// The counting objective with examples [first, last) of a list as micro-batch (first, last), or a loss that breaks.
class Scripted final : public Objective {
 public:
  std::vector<std::vector<Example>> micro_batches;
  std::int64_t broken_step = -1;
  StepLoss loss(const Transformer& model, std::int64_t step, std::int64_t micro, Precision precision) override {
    TokenBatch batch;
    std::vector<std::int32_t> targets;
    std::vector<float> weights;
    double total = 0;
    for (const Example& example : micro_batches.at(static_cast<std::size_t>(micro))) {
      batch.add(example.ids);
      for (std::size_t i = 1; i < example.ids.size(); ++i) {
        targets.push_back(example.ids[i]);
        weights.push_back(example.weights[i]);
        total += static_cast<double>(example.weights[i]);
      }
      targets.push_back(0);
      weights.push_back(0);
    }
    StepLoss result{
        .loss = weighted_cross_entropy(model, model.forward(batch, {.precision = precision}), targets, weights, precision) / total,
        .weight = total,
        .tokens = batch.n_tokens(),
        .metrics = {{"half", 0.5}}};
    if (step == broken_step) result.loss = result.loss * std::numeric_limits<double>::quiet_NaN();
    return result;
  }
  [[nodiscard]] Json describe() const override { return Json{{"kind", "scripted"}}; }
};

TEST(Trainer, AccumulationEqualsOneBigBatch) {
  const TemporaryFolder folder;
  TrainOptions options = quick_options(3);
  options.eps = 1.0;  // an update that is nearly linear in the gradient, so that rounding stays rounding
  const std::vector<Example> all = counting_examples(12);
  Scripted whole, parts;
  whole.micro_batches = {all};
  // Unequal parts: an unweighted mean of means would differ.
  parts.micro_batches = {{all.begin(), all.begin() + 2}, {all.begin() + 2, all.begin() + 9}, {all.begin() + 9, all.end()}};
  Transformer a = tiny_model(), b = tiny_model();
  train(a, whole, options, folder.path() / "a", no_progress());
  options.accumulate = 3;
  train(b, parts, options, folder.path() / "b", no_progress());
  const auto line_a = metrics(folder.path() / "a").back(), line_b = metrics(folder.path() / "b").back();
  EXPECT_NEAR(line_a["loss"].get<double>(), line_b["loss"].get<double>(), 1e-5);
  EXPECT_NEAR(line_a["grad_norm"].get<double>(), line_b["grad_norm"].get<double>(), 1e-4);
  EXPECT_NEAR(line_b["half"].get<double>(), 0.5, 1e-12);
  std::vector<Tensor> of_b;
  b.each_parameter([&](const std::string&, const Tensor& value) { of_b.push_back(value); });
  std::size_t i = 0;
  double moved = 0;
  std::vector<Tensor> start;
  tiny_model().each_parameter([&](const std::string&, const Tensor& value) { start.push_back(value.clone()); });
  a.each_parameter([&](const std::string& name, const Tensor& value) {
    EXPECT_LT((value - of_b[i]).abs().max().item<double>(), 2e-7) << name;
    moved = std::max(moved, (value - start[i]).abs().max().item<double>());
    ++i;
  });
  EXPECT_GT(moved, 1e-3);
}

TEST(Trainer, ALossThatIsNotFiniteNamesTheStepAndLosesNothing) {
  const TemporaryFolder folder;
  Transformer model = tiny_model();
  Scripted objective;
  objective.micro_batches = {counting_examples(5)};
  objective.broken_step = 6;
  const std::string message = error_of([&] { train(model, objective, quick_options(10), folder.path(), no_progress()); });
  expect_contains(message, "nan at step 6");
  model.each_parameter([](const std::string& name, const Tensor& value) { EXPECT_TRUE(value.isfinite().all().item<bool>()) << name; });
  // The checkpoint of step 4 is there, and the run ends once the data are repaired.
  objective.broken_step = -1;
  Transformer again = tiny_model(), whole = tiny_model();
  EXPECT_EQ(train(again, objective, quick_options(10), folder.path(), no_progress()).steps, 10);
  train(whole, objective, quick_options(10), folder.path() / "whole", no_progress());
  EXPECT_TRUE(same_bits(again, whole));
}

TEST(Trainer, FrozenPrefixesStayBitForBit) {
  const TemporaryFolder folder;
  Transformer model = tiny_model(), start = tiny_model();
  TrainOptions options = quick_options(5);
  options.frozen = {"model.embed_tokens", "model.layers.0.", "model.layers.*.mlp"};
  const auto objective = counting_objective();
  train(model, *objective, options, folder.path(), no_progress());
  std::vector<Tensor> before;
  start.each_parameter([&](const std::string&, const Tensor& value) { before.push_back(value); });
  std::size_t i = 0;
  model.each_parameter([&](const std::string& name, const Tensor& value) {
    const bool frozen =
        name.starts_with("model.embed_tokens") || name.starts_with("model.layers.0.") || name.find(".mlp.") != std::string::npos;
    EXPECT_EQ(value.equal(before[i++]), frozen) << name;
  });
  options.frozen = {"model.emb_tokens"};
  expect_contains(error_of([&] { train(model, *objective, options, folder.path() / "x", no_progress()); }), "model.emb_tokens");
}

TEST(Trainer, TheProbeEndsARun) {
  const TemporaryFolder folder;
  Transformer model = tiny_model();
  TrainOptions options = quick_options(20);
  options.probe_every = 5;
  const auto objective = counting_objective();
  std::vector<std::int64_t> asked;
  const Probe probe = [&](const Transformer&, std::int64_t step) {
    asked.push_back(step);
    return ProbeResult{.values = {{"knowledge", 0.1 * static_cast<double>(step)}}, .stop = step >= 10};
  };
  const TrainResult result = train(model, *objective, options, folder.path(), no_progress(), probe);
  EXPECT_TRUE(result.stopped_by_probe);
  EXPECT_EQ(result.steps, 10);
  EXPECT_EQ(asked, (std::vector<std::int64_t>{5, 10}));
  EXPECT_DOUBLE_EQ(result.probe.at("knowledge"), 1.0);
  EXPECT_TRUE(metrics(folder.path()).back()["stop"].get<bool>());
  Transformer fresh = tiny_model();
  const TrainResult again = train(fresh, *objective, options, folder.path(), no_progress(), probe);
  EXPECT_TRUE(again.stopped_by_probe);
  EXPECT_EQ(asked.size(), 2u);
}

TEST(Trainer, SettingsThatMakeNoSenseAreRefused) {
  const TemporaryFolder folder;
  Transformer model = tiny_model();
  const auto objective = counting_objective();
  for (const auto& [change, word] :
       std::vector<std::pair<std::function<void(TrainOptions&)>, std::string>>{{[](TrainOptions& o) { o.steps = -1; }, "steps"},
                                                                               {[](TrainOptions& o) { o.accumulate = 0; }, "accumulate"},
                                                                               {[](TrainOptions& o) { o.lr = std::nan(""); }, "lr"},
                                                                               {[](TrainOptions& o) { o.beta2 = 1.0; }, "beta2"},
                                                                               {[](TrainOptions& o) { o.clip_norm = -1; }, "clip_norm"},
                                                                               {[](TrainOptions& o) { o.eps = 0; }, "eps"}}) {
    TrainOptions options = quick_options(2);
    change(options);
    expect_contains(error_of([&] { train(model, *objective, options, folder.path(), no_progress()); }), word);
  }
}

}  // namespace
}  // namespace assay
