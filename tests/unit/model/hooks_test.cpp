#include "assay/model/hooks.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "../error_of.h"
#include "small_model.h"

namespace assay {
namespace {

TEST(Hooks, ScaleGradientLeavesTheValueAndScalesWhatArrives) {
  const Tensor x = at::randn({4, 3}, at::kDouble).requires_grad_();
  const Tensor factor = at::tensor({0.0, 1.0, 0.3, -0.75}, at::kDouble).unsqueeze(1);
  Hooks hooks;
  hooks.scale_gradient("blocks.0.hook_resid_post", factor);
  const Tensor value = x * 2;
  const Tensor beyond = hooks.apply("blocks.0.hook_resid_post", value);
  EXPECT_TRUE(at::equal(beyond, value));
  (beyond.square().sum() + value.sum()).backward();  // what does not pass the place keeps its gradient
  EXPECT_TRUE(at::allclose(x.grad(), 2 * (factor * 2 * value + 1).detach()));
}

TEST(Hooks, RunInOrderAndCaptureWhatStandsAtTheirTurn) {
  Hooks hooks;
  hooks.add("hook_embed", at::ones({2}, at::kDouble));
  hooks.read("hook_embed");
  hooks.replace("hook_embed", [](const Tensor& v) { return v * 3; });
  Hooks moved = std::move(hooks);
  EXPECT_TRUE(moved.wants("hook_embed"));
  EXPECT_FALSE(moved.wants("hook_pos_embed"));
  const Tensor out = moved.apply("hook_embed", at::zeros({2}, at::kFloat));
  EXPECT_TRUE(at::equal(out, at::full({2}, 3.0F)));
  EXPECT_TRUE(at::equal(moved.captured("hook_embed"), at::ones({2})));
}

TEST(Hooks, APassMeetsEveryPlaceThatItsModelHas) {
  for (const ModelConfig& config : {testing_tools::small_config(2, 16, 2, 2, 8, 24, 20), testing_tools::small_gpt(2, 16, 2, 24, 20)}) {
    const auto model = testing_tools::leaves(config, testing_tools::random_weights(config), at::kFloat);
    Hooks hooks;
    for (const std::string& place : hook_points(config.n_layers)) hooks.read(place);
    const Tensor hidden = model.forward(testing_tools::batch_of({5, 3}, config.d_vocab), {Precision::f32, &hooks});
    for (const std::string& place : hook_points(config.n_layers)) {
      const bool absent = (place == "hook_pos_embed" && config.positions != Positions::learned) ||
                          (contains(place, "hook_rot_") && config.positions != Positions::rope) ||
                          (contains(place, "hook_pre_linear") && !config.gated_mlp);
      if (absent)
        EXPECT_THROW((void)hooks.captured(place), Error) << place;
      else
        EXPECT_EQ(hooks.captured(place).size(0), 8) << place;
    }
    EXPECT_TRUE(at::allclose(hidden, model.forward(testing_tools::batch_of({5, 3}, config.d_vocab)), 1e-4, 1e-5));
  }
}

TEST(Hooks, ThePatternIsTheSoftmaxOfTheScoresAndCarriesTheOutput) {
  for (const ModelConfig& config : {testing_tools::small_config(2, 16, 4, 2, 8, 24, 20), testing_tools::small_gpt(2, 16, 2, 24, 20)}) {
    const auto model = testing_tools::leaves(config, testing_tools::random_weights(config), at::kFloat);
    const auto batch = testing_tools::batch_of({5, 3}, config.d_vocab);
    Hooks hooks;
    for (const char* name : {"hook_v", "hook_attn_scores", "hook_pattern", "hook_z"}) hooks.read("blocks.1.attn." + std::string(name));
    (void)model.forward(batch, {Precision::f32, &hooks});
    const auto value = [&](const char* name) { return hooks.captured("blocks.1.attn." + std::string(name)); };
    const Tensor pattern = value("hook_pattern");
    EXPECT_EQ(pattern.sizes(), (std::vector<std::int64_t>{8, config.n_heads, 5}));
    EXPECT_TRUE(at::allclose(pattern.sum(-1), at::ones({8, config.n_heads})));
    EXPECT_TRUE(at::allclose(pattern, at::softmax(value("hook_attn_scores"), -1)));
    EXPECT_EQ(pattern[2].narrow(1, 3, 2).abs().max().item<float>(), 0);  // nothing of what comes later
    EXPECT_EQ(pattern[7].narrow(1, 3, 2).abs().max().item<float>(), 0);  // nor of beyond its sequence
    // The last token of the second sequence: z is its row of the pattern over that sequence's values.
    for (std::int64_t head = 0; head < config.n_heads; ++head) {
      const Tensor v = value("hook_v").narrow(0, 5, 3).select(1, head / (config.n_heads / config.n_kv_heads));  // [3, d_head]
      EXPECT_TRUE(at::allclose(value("hook_z")[7][head], at::matmul(pattern[7][head].narrow(0, 0, 3), v), 1e-5, 1e-6));
    }
    // A head made blind to everything but itself.
    Hooks blind;
    blind.replace("blocks.1.attn.hook_pattern", [](const Tensor& p) {
      Tensor own = at::zeros_like(p);
      for (std::int64_t t = 0; t < 8; ++t) own[t].select(1, t < 5 ? t : t - 5).fill_(1);
      return own;
    });
    blind.read("blocks.1.attn.hook_z");
    blind.read("blocks.1.attn.hook_v");
    (void)model.forward(batch, {Precision::f32, &blind});
    EXPECT_TRUE(at::allclose(blind.captured("blocks.1.attn.hook_z"),
                             blind.captured("blocks.1.attn.hook_v").repeat_interleave(config.n_heads / config.n_kv_heads, 1)));
  }
}

TEST(Hooks, RefusesUnknownPlacesAndOtherShapes) {
  Hooks hooks;
  hooks.read("blocks.2.hook_resid_post");
  EXPECT_NO_THROW(hooks.check_places(3));
  EXPECT_THROW(hooks.check_places(2), Error);
  EXPECT_THROW((void)hooks.captured("blocks.2.hook_resid_post"), Error);
  hooks.replace("blocks.0.hook_resid_pre", [](const Tensor&) { return at::zeros({1}); });
  EXPECT_THROW((void)hooks.apply("blocks.0.hook_resid_pre", at::zeros({2})), Error);
}

}  // namespace
}  // namespace assay
