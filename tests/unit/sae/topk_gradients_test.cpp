// The hand-written gradients of the TopK loss against autograd over plain operations and against finite differences, in f64; f32 against
// f64.
#include "assay/sae/topk_gradients.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>

#include "assay/base/rng.h"

namespace assay {
namespace {

Tensor normals(at::IntArrayRef shape, Rng rng, at::ScalarType type = at::kDouble) {
  Tensor out = at::empty(shape, at::kDouble);
  for (std::int64_t i = 0; i < out.numel(); ++i) out.data_ptr<double>()[i] = rng.normal();
  return out.to(type);
}

Sae random_sae(std::int64_t d, std::int64_t F, std::int64_t k, bool apply_b_dec) {
  const Rng rng(4);
  Sae sae;
  sae.config.d_in = d, sae.config.d_sae = F, sae.config.k = k, sae.config.apply_b_dec_to_input = apply_b_dec;
  sae.W_enc = normals({F, d}, rng.fork("enc"));
  sae.W_dec = normals({F, d}, rng.fork("dec"));
  sae.b_enc = normals({F}, rng.fork("be"));
  sae.b_dec = normals({d}, rng.fork("bd"));
  return sae;
}

std::vector<std::uint8_t> some_dead(std::int64_t F, std::int64_t n) {
  std::vector<std::uint8_t> dead(static_cast<std::size_t>(F), 0);
  for (std::int64_t i = 0; i < n; ++i) dead[static_cast<std::size_t>(3 * i % F)] = 1;
  return dead;
}

/// The same loss out of ATen's own operations.
Tensor plain_loss(const Sae& s, const Tensor& x, const std::vector<std::uint8_t>& dead, double coefficient) {
  const auto n = static_cast<double>(x.size(0));
  const Tensor pre = at::addmm(s.b_enc, s.config.apply_b_dec_to_input ? x - s.b_dec : x, s.W_enc.t());
  const auto [values, indices] = at::topk(pre, s.config.k);
  const Tensor f = at::zeros_like(pre).scatter(1, indices, values.relu());
  const Tensor x_hat = at::mm(f, s.W_dec) + s.b_dec;
  Tensor loss = (x_hat - x).square().sum() / n;
  const std::int64_t n_dead = std::count(dead.begin(), dead.end(), 1), half = x.size(1) / 2, k = std::min(half, n_dead);
  if (k == 0 || coefficient == 0) return loss;
  const Tensor mask = at::tensor(std::vector<std::int64_t>(dead.begin(), dead.end()), at::kLong).to(at::kBool);
  const auto [a_values, a_indices] = at::topk(at::where(mask, pre, at::full({}, -1e300, pre.options())), k);
  const Tensor a = at::zeros_like(pre).scatter(1, a_indices, a_values);
  const double scale = coefficient * std::min(1.0, static_cast<double>(n_dead) / static_cast<double>(half));
  return loss + scale * (at::mm(a, s.W_dec) - (x - x_hat).detach()).square().sum() / n;
}

void compare(const Tensor& got, const Tensor& wanted, double tolerance, const char* what) {
  const double off = (got.to(at::kDouble) - wanted.to(at::kDouble)).abs().max().item<double>();
  EXPECT_LE(off, tolerance * (1 + wanted.abs().max().item<double>())) << what;
}

TEST(TopKGradients, AgreeWithAutograd) {
  for (const bool apply : {true, false})
    for (const std::int64_t n_dead : {0, 3, 11}) {
      Sae sae = random_sae(10, 30, 4, apply);
      const Tensor x = normals({40, 10}, Rng(8));
      const auto dead = some_dead(30, n_dead);
      const TopKGradients g = topk_gradients(sae, x, dead, 0.25);
      for (Tensor* p : {&sae.W_enc, &sae.b_enc, &sae.W_dec, &sae.b_dec}) p->set_requires_grad(true);
      const Tensor loss = plain_loss(sae, x, dead, 0.25);
      loss.backward();
      EXPECT_NEAR(g.mse + g.aux, loss.item<double>(), 1e-10);
      EXPECT_EQ(g.aux > 0.1, n_dead > 0);
      compare(g.W_enc, sae.W_enc.grad(), 1e-11, "W_enc");
      compare(g.b_enc, sae.b_enc.grad(), 1e-11, "b_enc");
      compare(g.W_dec, sae.W_dec.grad(), 1e-11, "W_dec");
      compare(g.b_dec, sae.b_dec.grad(), 1e-11, "b_dec");
    }
}

TEST(TopKGradients, AgreeWithFiniteDifferences) {
  Sae sae = random_sae(6, 15, 3, true);
  const Tensor x = normals({20, 6}, Rng(8));
  const std::vector<std::uint8_t> none(15, 0);
  const TopKGradients g = topk_gradients(sae, x, none, 0);
  const std::pair<Tensor*, const Tensor*> all[] = {
      {&sae.W_enc, &g.W_enc}, {&sae.b_enc, &g.b_enc}, {&sae.W_dec, &g.W_dec}, {&sae.b_dec, &g.b_dec}};
  for (const auto& [parameter, gradient] : all)
    for (std::int64_t i = 0; i < parameter->numel(); i += 2) {
      double* value = parameter->data_ptr<double>() + i;
      const double was = *value, h = 1e-6;
      *value = was + h;
      const double up = topk_gradients(sae, x, none, 0).mse;
      *value = was - h;
      const double down = topk_gradients(sae, x, none, 0).mse;
      *value = was;
      EXPECT_NEAR((up - down) / (2 * h), gradient->const_data_ptr<double>()[i], 1e-5);
    }
}

TEST(TopKGradients, SinglePrecisionAndThreads) {
  const Sae sae = random_sae(32, 128, 8, true);
  Sae narrow = sae;
  for (Tensor* p : {&narrow.W_enc, &narrow.b_enc, &narrow.W_dec, &narrow.b_dec}) *p = p->to(at::kFloat);
  const Tensor x = normals({200, 32}, Rng(8));
  const auto dead = some_dead(128, 20);
  const TopKGradients wide = topk_gradients(sae, x, dead, 0.1), one = topk_gradients(narrow, x, dead, 0.1);
  compare(one.W_enc, wide.W_enc, 1e-4, "W_enc");
  compare(one.W_dec, wide.W_dec, 1e-4, "W_dec");
  EXPECT_NEAR(one.mse, wide.mse, 1e-4 * wide.mse);
  EXPECT_EQ(one.fired, wide.fired);
  EXPECT_EQ(one.active, wide.active);
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  const TopKGradients other = topk_gradients(narrow, x, dead, 0.1);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(one.W_enc, other.W_enc) && at::equal(one.W_dec, other.W_dec) && at::equal(one.b_enc, other.b_enc));
}

TEST(TopK, LargestFirstEarlierOnTies) {
  const std::vector<double> values = {1, 5, 5, -2, 7, 5};
  std::vector<std::int32_t> out;
  top_k(values.data(), 6, 3, nullptr, out);
  EXPECT_EQ(out, (std::vector<std::int32_t>{4, 1, 2}));
  const std::vector<std::uint8_t> among = {1, 0, 1, 1, 0, 1};
  top_k(values.data(), 6, 2, among.data(), out);
  EXPECT_EQ(out, (std::vector<std::int32_t>{2, 5}));
  top_k(values.data(), 6, 0, nullptr, out);
  EXPECT_TRUE(out.empty());
}

}  // namespace
}  // namespace assay
