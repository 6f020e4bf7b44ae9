#include "assay/train/objectives/dpo_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

namespace assay {
namespace {

Tensor doubles(std::vector<double> values) { return at::tensor(values, at::kDouble); }

const PairLogProbs kReference{doubles({-10.0, -30.0, -5.5}), doubles({-11.0, -20.0, -6.5})};

double loss_at(const std::vector<double>& chosen, const std::vector<double>& rejected, double beta, double smoothing) {
  return dpo_sigmoid_loss({doubles(chosen), doubles(rejected)}, kReference, beta, smoothing).loss.item<double>();
}

TEST(DpoLoss, IsLogTwoWherePolicyIsReference) {
  for (const double smoothing : {0.0, 0.2}) {
    EXPECT_NEAR(dpo_sigmoid_loss(kReference, kReference, 0.3, smoothing).loss.item<double>(), std::log(2.0), 1e-12);
  }
}

TEST(DpoLoss, EqualsTheFormula) {
  const double margin = 0.5 * ((-9.0 + 10.0) - (-12.0 + 11.0));  // of the first pair; the others are 0
  const double sigmoid = 1 / (1 + std::exp(-margin));
  EXPECT_NEAR(loss_at({-9.0, -30.0, -5.5}, {-12.0, -20.0, -6.5}, 0.5, 0.1),
              (-0.9 * std::log(sigmoid) - 0.1 * std::log(1 - sigmoid) + 2 * std::log(2.0)) / 3, 1e-12);
}

TEST(DpoLoss, GradientAgreesWithFiniteDifferencesInF64) {
  const std::vector<double> chosen{-9.0, -33.0, -4.0}, rejected{-12.5, -18.0, -7.0};
  for (const double smoothing : {0.0, 0.1}) {
    PairLogProbs policy{doubles(chosen).requires_grad_(true), doubles(rejected).requires_grad_(true)};
    dpo_sigmoid_loss(policy, kReference, 0.4, smoothing).loss.backward();
    for (std::size_t i = 0; i < 3; ++i) {
      const double h = 1e-5;
      auto up = chosen, down = chosen;
      up[i] += h;
      down[i] -= h;
      const double by_chosen = (loss_at(up, rejected, 0.4, smoothing) - loss_at(down, rejected, 0.4, smoothing)) / (2 * h);
      EXPECT_NEAR(policy.chosen.grad()[static_cast<std::int64_t>(i)].item<double>(), by_chosen, 1e-9);
      up = down = rejected;
      up[i] += h;
      down[i] -= h;
      const double by_rejected = (loss_at(chosen, up, 0.4, smoothing) - loss_at(chosen, down, 0.4, smoothing)) / (2 * h);
      EXPECT_NEAR(policy.rejected.grad()[static_cast<std::int64_t>(i)].item<double>(), by_rejected, 1e-9);
    }
  }
}

TEST(DpoLoss, StaysFiniteFarOut) {
  EXPECT_NEAR(loss_at({-10.0, -30.0, -5.5}, {-11.0 - 4e4, -20.0, -6.5}, 1.0, 0.0), 2 * std::log(2.0) / 3, 1e-9);
  EXPECT_NEAR(loss_at({-10.0 - 3e4, -30.0, -5.5}, {-11.0, -20.0, -6.5}, 1.0, 0.0), (3e4 + 2 * std::log(2.0)) / 3, 1e-6);
}

}  // namespace
}  // namespace assay
