#include "assay/routing/methods/unlearning.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "../error_of.h"
#include "assay/base/files.h"
#include "assay/routing/methods/evaluation.h"
#include "assay/train/trainer.h"
#include "routing_tools.h"

namespace assay {
namespace {

using namespace testing_tools;
using namespace routing;

const RoutedExample kForget = sequence("ant bee cat dog ant bee", "forget"), kRetain = sequence("hen gnu fox elk hen", "retain");
UnlearningData unlearning_data() { return {{kForget.example, kForget.example}, {kRetain.example, kRetain.example}, 24, 3}; }

TrainOptions unlearning_run(std::int64_t steps) {
  TrainOptions o;
  o.steps = steps, o.lr = 1e-2, o.warmup_steps = 0, o.schedule = Schedule::constant, o.precision = Precision::f32, o.checkpoint_every = 0;
  return o;
}

double first_loss(Objective& objective, const Transformer& model) {
  objective.prepare(model, unlearning_run(1), {}, no_progress());
  return objective.loss(model, 0, 0, Precision::f32).loss.item<double>();
}

TEST(Unlearning, LossesByHand) {
  const Transformer model = letter_model();
  const double of_forget = mean_loss(model, std::span(&kForget, 1), Precision::f32),
               of_retain = mean_loss(model, std::span(&kRetain, 1), Precision::f32);
  ForgetOptions o;
  o.forget_weight = 0.5, o.retain_weight = 2;
  EXPECT_NEAR(first_loss(*make_forget_objective(unlearning_data(), o), model), -0.5 * of_forget + 2 * of_retain, 1e-4);
  o.loss = ForgetLoss::npo, o.beta = 0.2;  // the model is its own reference: log(1 + 1)
  EXPECT_NEAR(first_loss(*make_forget_objective(unlearning_data(), o), model), 0.5 * 2 / 0.2 * std::log(2.0) + 2 * of_retain, 1e-4);
  o.loss = ForgetLoss::max_ent;
  Transformer uniform = model.clone();
  uniform.weights.W_U.zero_();
  const double v = std::log(static_cast<double>(model.config.d_vocab));
  EXPECT_NEAR(first_loss(*make_forget_objective(unlearning_data(), o), uniform), 2 * v, 1e-4);
  EXPECT_GT(first_loss(*make_forget_objective(unlearning_data(), o), model), 2 * of_retain);
  o.beta = 0;
  EXPECT_NE(error_of([&] { (void)make_forget_objective(unlearning_data(), o); }).find("beta"), std::string::npos);
}

TEST(Unlearning, EachLossForgetsAndKeeps) {
  for (const ForgetLoss loss : {ForgetLoss::grad_diff, ForgetLoss::npo, ForgetLoss::max_ent}) {
    Transformer model = letter_model();
    const TemporaryFolder folder;
    train(model, *make_lm_objective({{"all", {kForget.example, kRetain.example}, 1.0}}, 24, 1), unlearning_run(40), folder.path() / "base",
          no_progress());
    const double forget = mean_loss(model, std::span(&kForget, 1), Precision::f32);
    ForgetOptions o;
    o.loss = loss;
    train(model, *make_forget_objective(unlearning_data(), o), unlearning_run(20), folder.path() / "after", no_progress());
    EXPECT_GT(mean_loss(model, std::span(&kForget, 1), Precision::f32), forget + 0.5);
    EXPECT_LT(mean_loss(model, std::span(&kRetain, 1), Precision::f32), 1.0);
  }
}

TEST(Unlearning, RmuMovesWhatItMayAndMisleads) {
  Transformer model = letter_model();
  std::map<std::string, Tensor> before;
  model.each_parameter([&](const std::string& name, const Tensor& value) { before[name] = value.detach().clone(); });
  const auto objective = make_rmu_objective(unlearning_data(), {.layer = 1, .steering = 3, .retain_weight = 10});
  TrainOptions o = unlearning_run(30);
  o.frozen = rmu_frozen(model, 1);
  const TemporaryFolder folder;
  train(model, *objective, o, folder.path() / "rmu", no_progress());
  model.each_parameter([&](const std::string& name, const Tensor& value) {
    EXPECT_EQ(at::equal(value, before.at(name)), name != "model.layers.0.mlp.down_proj.weight") << name;
  });
  const auto metrics = read_text(folder.path() / "rmu" / "metrics.jsonl");
  const Json first = parse_json(metrics.substr(0, metrics.find('\n')), "metrics");
  const Json last = parse_json(metrics.substr(metrics.rfind('\n', metrics.size() - 2) + 1), "metrics");
  EXPECT_LT(last["misled"].get<double>(), first["misled"].get<double>());
  EXPECT_NE(error_of([&] { first_loss(*make_rmu_objective(unlearning_data(), {.layer = 3}), model); }).find("expected 1 to 2"),
            std::string::npos);
}

TEST(Unlearning, AStudentLearnsFromItsTeacher) {
  const Transformer teacher = letter_model();
  const auto objective = make_distillation_objective(teacher.clone(), {kRetain.example}, 24, 1);
  EXPECT_NEAR(first_loss(*objective, teacher), 0, 1e-6);
  Transformer student = letter_model(2);
  const double before = first_loss(*objective, student);
  const TemporaryFolder folder;
  train(student, *objective, unlearning_run(30), folder.path() / "undo", no_progress());
  EXPECT_LT(first_loss(*objective, student), before / 4);
}

}  // namespace
}  // namespace assay
