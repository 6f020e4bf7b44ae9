#include "assay/model/reference_ops.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace assay {
namespace {

TEST(ReferenceOps, AttentionIsCausalAndStaysInsideItsSequence) {
  const std::vector<std::int64_t> offsets = {0, 3, 3, 7, 8};  // lengths 3, 0, 4, 1
  const Tensor q = at::randn({8, 4, 6}, at::kDouble), k = at::randn({8, 2, 6}, at::kDouble), v = at::randn({8, 2, 6}, at::kDouble);
  for (const std::int64_t window : {0, 1, 2, 4}) {
    const Tensor z = reference::attention(q, k, v, offsets, {0.5, window}, Precision::f32);
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
      for (auto i = offsets[s]; i < offsets[s + 1]; ++i) {
        for (std::int64_t h = 0; h < 4; ++h) {
          const auto before = i + 1 - offsets[s], keys = window > 0 ? std::min(window, before) : before, first = i + 1 - keys;
          const Tensor scores = at::mv(k.narrow(0, first, keys).select(1, h / 2), q[i][h]) * 0.5;
          const Tensor expected = at::mv(v.narrow(0, first, keys).select(1, h / 2).t(), scores.softmax(0));
          EXPECT_TRUE(at::allclose(z[i][h], expected, 1e-10, 1e-12)) << i << " " << h << " " << window;
        }
      }
    }
  }
}

TEST(ReferenceOps, WeightedCrossEntropyAgreesWithLogSoftmax) {
  const Tensor hidden = at::randn({5, 4}, at::kDouble).requires_grad_(), W_U = at::randn({7, 4}, at::kDouble);
  const std::vector<std::int32_t> targets = {1, 6, 0, 3, 2};
  const std::vector<float> weights = {0.5F, 0.0F, 1.0F, 2.0F, 0.0F};
  const Tensor loss = reference::weighted_cross_entropy(hidden, W_U, targets, weights, Precision::f32);
  Tensor expected = at::zeros({}, at::kDouble);
  const Tensor logprobs = at::log_softmax(at::mm(hidden, W_U.t()), 1);
  for (std::int64_t i = 0; i < 5; ++i) expected = expected - logprobs[i][targets[i]] * weights[i];
  EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 1e-12);
  const std::vector<float> none(5, 0.0F);
  EXPECT_EQ(reference::weighted_cross_entropy(hidden, W_U, targets, none, Precision::f32).item<double>(), 0.0);
}

}  // namespace
}  // namespace assay
