#include "assay/model/units.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "../error_of.h"
#include "small_model.h"

namespace assay {
namespace {

using testing_tools::batch_of;
using testing_tools::leaves;
using testing_tools::random_weights;

TEST(Units, AnotherOrderComputesTheSame) {
  ModelConfig gpt = testing_tools::small_gpt(2, 16, 2, 24, 20);
  gpt.family = "gpt2";
  for (const ModelConfig& config : {testing_tools::small_config(2, 16, 4, 2, 8, 24, 20), gpt}) {
    const auto model = leaves(config, random_weights(config), at::kFloat);
    Transformer other = model.clone();
    const Units order = shuffle_units(other, Rng(3));
    const auto batch = batch_of({5, 3}, config.d_vocab);
    EXPECT_TRUE(at::allclose(model.forward(batch), other.forward(batch), 1e-4, 1e-5));
    EXPECT_FALSE(at::equal(model.weights.blocks[0].W_in, other.weights.blocks[0].W_in));
    // A unit is found again where after_shuffle says.
    Units some = Units::none(config.n_layers);
    some.neurons[1] = {0, 7, 23};
    some.heads[0] = {1};
    const Units there = after_shuffle(some, order);
    EXPECT_EQ(there.count(), some.count());
    EXPECT_TRUE(std::is_sorted(there.neurons[1].begin(), there.neurons[1].end()));
    const auto without = [&](const Transformer& of, const Units& units) {
      Hooks hooks;
      silence(hooks, units);
      return of.forward(batch, {Precision::f32, &hooks});
    };
    const Tensor silenced = without(model, some);
    EXPECT_TRUE(at::allclose(silenced, without(other, there), 1e-4, 1e-5));
    EXPECT_FALSE(at::allclose(silenced, model.forward(batch), 1e-4, 1e-5));
    // Silenced is as if what they write were 0.
    Transformer zeroed = model.clone();
    at::NoGradGuard guard;
    for (const std::int64_t n : some.neurons[1]) zeroed.weights.blocks[1].W_out.select(1, n).zero_();
    zeroed.weights.blocks[0].W_O.narrow(1, config.d_head, config.d_head).zero_();
    EXPECT_TRUE(at::allclose(silenced, zeroed.forward(batch), 1e-4, 1e-5));
  }
}

TEST(Units, AreCheckedAgainstTheModel) {
  const ModelConfig config = testing_tools::small_config(2, 16, 4, 2, 8, 24, 20);
  Units units = Units::none(2);
  EXPECT_NO_THROW(check_units(units, config, "places.json"));
  units.neurons[1] = {24};
  EXPECT_TRUE(contains(error_of([&] { check_units(units, config, "places.json"); }), "neuron 24 of layer 1"));
  units.neurons[1] = {3, 3};
  EXPECT_TRUE(contains(error_of([&] { check_units(units, config, "places.json"); }), "twice"));
  units.neurons[1].clear();
  units.heads[0] = {-1};
  EXPECT_TRUE(contains(error_of([&] { check_units(units, config, "places.json"); }), "head -1"));
  EXPECT_TRUE(contains(error_of([&] { check_units(Units::none(3), config, "places.json"); }), "3 layers"));
}

}  // namespace
}  // namespace assay
