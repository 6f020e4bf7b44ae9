// Gradient masks in the kernels against their composition in f64, and what they must not touch.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "../error_of.h"
#include "assay/model/gradient_masks.h"
#include "small_model.h"

namespace assay {
namespace {

using testing_tools::batch_of;
using testing_tools::each_tensor;

enum class Shape {
  llama,
  biased,
  neo
};  // as it comes; biases and tied embeddings; layer norm, learned positions, one matrix before the activation

ModelConfig masked_config(Shape shape) {
  auto config = testing_tools::small_config(2, 36, 4, 2, 10, 50, 31);
  config.attn_bias = config.attn_out_bias = config.mlp_bias = config.tied_embeddings = shape != Shape::llama;
  if (shape != Shape::neo) return config;
  config.norm = Norm::layer, config.positions = Positions::learned, config.activation = Activation::gelu_tanh, config.gated_mlp = false;
  config.windows = {0, 16};
  return config;
}

/// A table of two rows; entries are 0, 1, -0.75 and others; the second row has a run of ones at both ends.
MaskTablePtr random_table(std::int64_t units) {
  Tensor factors = at::rand({2, units}) * 2 - 0.7;
  factors[0].narrow(0, 0, 1).zero_();
  factors[1].narrow(0, 0, units / 3).fill_(1);
  factors[1].narrow(0, units - units / 4, units / 4).fill_(1);
  return std::make_shared<MaskTable>(factors);
}

struct Which {
  bool activation, gates, exact;
};

std::shared_ptr<MaskTables> random_tables(const ModelConfig& c, Which which) {
  auto tables = std::make_shared<MaskTables>();
  const auto q = c.n_heads * c.d_head, kv = c.n_kv_heads * c.d_head;
  for (std::int64_t l = 0; l < c.n_layers; ++l) {
    LayerMasks m;
    if (which.activation) {
      m.z = random_table(q), m.post = random_table(c.d_mlp);
      m.attn_out = random_table(c.d_model), m.resid_mid = random_table(c.d_model), m.mlp_out = random_table(c.d_model),
      m.resid_post = random_table(c.d_model);
    }
    if (which.gates) m.z_gate = random_table(q), m.post_gate = random_table(c.d_mlp);
    if (which.exact) {
      m.ln1 = random_table(c.d_model), m.qkv = random_table(q + 2 * kv), m.W_O = random_table(q), m.b_O = random_table(c.d_model);
      m.ln2 = random_table(c.d_model), m.mlp_in = random_table(c.gated_mlp ? 2 * c.d_mlp : c.d_mlp), m.W_out = random_table(c.d_mlp),
      m.b_out = random_table(c.d_model);
    }
    tables->layers.push_back(m);
  }
  if (which.exact) {
    tables->embed = random_table(c.d_model), tables->pos_embed = random_table(c.d_model), tables->ln_final = random_table(c.d_model);
    // A row of hidden has one factor in dW_U.
    tables->unembed = std::make_shared<MaskTable>((at::rand({2, 1}) - 0.3).expand({2, c.d_model}));
  }
  return tables;
}

std::shared_ptr<TokenRows> random_rows(std::int64_t n, bool soft) {
  auto rows = std::make_shared<TokenRows>();
  const Tensor draw = at::rand({n, 3});
  for (std::int64_t t = 0; t < n; ++t) {
    rows->row.push_back(draw[t][0].item<float>() < 0.5F ? 0 : 1);
    if (!soft) continue;
    rows->other.push_back(draw[t][1].item<float>() < 0.5F ? 0 : 1);
    rows->weight.push_back(t % 3 == 0 ? 1.0F : draw[t][2].item<float>());
  }
  return rows;
}

struct Passed {
  Tensor hidden;
  std::vector<Tensor> gradients;
};

Passed masked_pass(Transformer& model, const TokenBatch& batch, const GradientMasks* masks, Precision precision = Precision::f32) {
  each_tensor(model.weights, [](Tensor& t) { t.mutable_grad() = Tensor(); });
  std::vector<float> weights;
  std::vector<std::int32_t> targets;
  for (std::size_t i = 0; i < batch.ids.size(); ++i) {
    weights.push_back(i % 5 == 2 ? 0.0F : 0.3F + static_cast<float>(i % 3));
    targets.push_back(static_cast<std::int32_t>((i * 5 + 1) % static_cast<std::size_t>(model.config.d_vocab)));
  }
  const Tensor hidden = model.forward(batch, {.precision = precision, .masks = masks});
  weighted_cross_entropy(model, hidden, targets, weights, precision, masks).backward();
  Passed result{hidden.detach(), {}};
  each_tensor(model.weights, [&](Tensor& t) { result.gradients.push_back(t.grad()); });
  return result;
}

double difference(const Tensor& a, const Tensor& b) {
  const double scale = b.to(at::kDouble).norm().item<double>();
  return (a.to(at::kDouble) - b.to(at::kDouble)).norm().item<double>() / std::max(scale, 1e-3);
}

void compare_masked(Precision precision, double tolerance) {
  for (const Shape shape : {Shape::llama, Shape::biased, Shape::neo}) {
    for (const Which which : {Which{true, false, false}, Which{false, true, false}, Which{false, false, true}, Which{true, true, true}}) {
      at::manual_seed(11);
      const auto config = masked_config(shape);
      const auto weights = testing_tools::random_weights(config);
      auto fast = testing_tools::leaves(config, weights, at::kFloat), exact = testing_tools::leaves(config, weights, at::kDouble);
      const auto batch = batch_of({40, 1, 130}, config.d_vocab);
      const GradientMasks masks{random_tables(config, which), random_rows(batch.n_tokens(), shape != Shape::llama)};
      const Passed got = masked_pass(fast, batch, &masks, precision), wanted = masked_pass(exact, batch, &masks);
      EXPECT_LT(difference(got.hidden, wanted.hidden), tolerance);
      double largest = 0;
      for (const Tensor& g : wanted.gradients) largest = std::max(largest, g.norm().item<double>());
      for (std::size_t i = 0; i < got.gradients.size(); ++i) {
        const double off = (got.gradients[i].to(at::kDouble) - wanted.gradients[i]).norm().item<double>();
        EXPECT_LT(off, 4 * tolerance * std::max(wanted.gradients[i].norm().item<double>(), 0.05 * largest))
            << "shape " << static_cast<int>(shape) << " tensor " << i << ", activation " << which.activation << " gates " << which.gates
            << " exact " << which.exact;
      }
    }
  }
}

TEST(Masks, F32AgreesWithTheComposition) { compare_masked(Precision::f32, 1e-5); }
TEST(Masks, Bf16AgreesWithTheCompositionToItsRounding) { compare_masked(Precision::bf16, 2e-2); }

TEST(Masks, TheForwardPassStaysBitForBitUnderMasksOfGradients) {
  const auto config = masked_config(Shape::neo);
  at::manual_seed(3);
  auto model = testing_tools::leaves(config, testing_tools::random_weights(config), at::kFloat);
  const auto batch = batch_of({64, 20}, config.d_vocab);
  const GradientMasks masks{random_tables(config, {true, false, true}), random_rows(batch.n_tokens(), true)};
  for (const auto precision : {Precision::f32, Precision::bf16}) {
    EXPECT_TRUE(at::equal(model.forward(batch, {.precision = precision}), model.forward(batch, {.precision = precision, .masks = &masks})));
  }
}

TEST(Masks, ExactMasksLeaveWhatTheyDoNotNameToTheBit) {
  const auto config = masked_config(Shape::llama);
  at::manual_seed(5);
  auto model = testing_tools::leaves(config, testing_tools::random_weights(config), at::kFloat);
  const auto batch = batch_of({50, 33}, config.d_vocab);
  auto tables = std::make_shared<MaskTables>();
  tables->layers.resize(2);
  tables->layers[1].mlp_in = random_table(2 * config.d_mlp);
  tables->layers[1].W_out = random_table(config.d_mlp);
  const GradientMasks masks{tables, random_rows(batch.n_tokens(), false)};
  const Passed plain = masked_pass(model, batch, nullptr), masked = masked_pass(model, batch, &masks);
  std::vector<const Tensor*> named = {&model.weights.blocks[1].W_gate, &model.weights.blocks[1].W_in, &model.weights.blocks[1].W_out};
  std::size_t i = 0;
  each_tensor(model.weights, [&](Tensor& t) {
    const bool is_named = std::find(named.begin(), named.end(), &t) != named.end();
    EXPECT_EQ(at::equal(plain.gradients[i], masked.gradients[i]), !is_named) << "tensor " << i;
    ++i;
  });
}

TEST(Masks, GradientsDoNotDependOnTheNumberOfThreads) {
  const auto config = masked_config(Shape::neo);
  at::manual_seed(6);
  auto model = testing_tools::leaves(config, testing_tools::random_weights(config), at::kFloat);
  const auto batch = batch_of({200, 90}, config.d_vocab);
  const GradientMasks masks{random_tables(config, {true, true, true}), random_rows(batch.n_tokens(), true)};
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Passed one = masked_pass(model, batch, &masks, Precision::bf16);
  at::set_num_threads(3);
  const Passed three = masked_pass(model, batch, &masks, Precision::bf16);
  at::set_num_threads(before);
  for (std::size_t i = 0; i < one.gradients.size(); ++i) EXPECT_TRUE(at::equal(one.gradients[i], three.gradients[i])) << "tensor " << i;
}

TEST(Masks, WhatDoesNotFitIsAnError) {
  const auto config = masked_config(Shape::llama);
  auto model = testing_tools::leaves(config, testing_tools::random_weights(config), at::kFloat);
  const auto batch = batch_of({4}, config.d_vocab);
  auto tables = random_tables(config, {true, false, false});
  const auto error = [&](const GradientMasks& masks) { return error_of([&] { (void)model.forward(batch, {.masks = &masks}); }); };
  EXPECT_NE(error({tables, random_rows(5, false)}).find("rows for 5 tokens, the batch has 4"), std::string::npos);
  auto rows = random_rows(4, false);
  rows->row[2] = 2;
  EXPECT_NE(error({tables, rows}).find("row 2 of tables with 2 rows"), std::string::npos);
  tables->layers.pop_back();
  EXPECT_NE(error({tables, random_rows(4, false)}).find("tables for 1 blocks, the model has 2"), std::string::npos);
}

}  // namespace
}  // namespace assay
