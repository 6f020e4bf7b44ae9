#include "assay/routing/selectivity.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "assay/routing/surgery.h"
#include "routing_tools.h"

namespace assay {
namespace {

using namespace testing_tools;

TEST(Selectivity, ComparesMeansOverTokens) {
  Transformer model = letter_model();
  routing::ablate(model, routing::parse_place("blocks.1.mlp.neurons[0:2]", model.config, {}, "test"));
  const std::vector<routing::RoutedExample> data = {sequence("ant bee", "x"), sequence("cat dog elk", "y"), sequence("ant bee", "x"),
                                                    sequence("fox", "")};
  const auto s = routing::selectivity(model, data, "x", Precision::f32, no_progress());
  EXPECT_EQ(s.own_tokens, 4);
  EXPECT_EQ(s.other_tokens, 4);
  TokenBatch batch;
  batch.add(data[0].example.ids);
  Hooks hooks;
  hooks.read("blocks.0.mlp.hook_post");
  (void)model.forward(batch, {.hooks = &hooks});
  EXPECT_NEAR(s.own[0][5], hooks.captured("blocks.0.mlp.hook_post").abs().mean(0)[5].item<double>(),
              1e-6);                 // both sequences of x are this one
  EXPECT_EQ(s.ratio(1, 0, 2), 0.0);  // silent on both sides
  EXPECT_NEAR(s.ratio(0, 5, 6), s.own[0][5] / s.other[0][5], 1e-9);
}

}  // namespace
}  // namespace assay
