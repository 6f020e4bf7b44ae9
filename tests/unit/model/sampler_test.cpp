#include "assay/model/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace assay {
namespace {

std::vector<float> random_logits(std::size_t n, double spread, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<float> logits;
  for (std::size_t i = 0; i < n; ++i) logits.push_back(static_cast<float>(rng.normal() * spread));
  return logits;
}

/// Probabilities after the filters, by sorting everything, in f64.
std::vector<double> expected(const std::vector<float>& logits, const SamplerOptions& o) {
  const auto n = logits.size();
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return logits[a] > logits[b]; });
  std::vector<double> p(n);
  double total = 0;
  for (std::size_t i = 0; i < n; ++i) total += p[i] = std::exp((static_cast<double>(logits[i]) - logits[order[0]]) / o.temperature);
  if (o.top_k > 0) order.resize(std::min(n, static_cast<std::size_t>(o.top_k)));
  double of = 0;
  for (const auto i : order) of += p[i];
  std::vector<double> kept(n);
  double seen = 0, sum = 0;
  for (const auto i : order) {
    if (seen >= o.top_p * of && i != order[0]) break;
    seen += p[i];
    if (p[i] >= o.min_p) sum += kept[i] = p[i];
  }
  for (double& k : kept) k /= sum;
  return kept;
}

TEST(Sampler, DrawsWithTheProbabilitiesThatTheFiltersLeave) {
  const auto logits = random_logits(600, 2.0, 5);
  for (const SamplerOptions& o :
       {SamplerOptions{1.0, 0, 1.0, 0.0}, SamplerOptions{0.7, 0, 1.0, 0.0}, SamplerOptions{1.0, 5, 1.0, 0.0},
        SamplerOptions{1.3, 0, 0.6, 0.0}, SamplerOptions{1.0, 0, 1.0, 0.05}, SamplerOptions{0.8, 40, 0.9, 0.02}}) {
    const auto p = expected(logits, o);
    Sampler sampler(o);
    std::map<std::int32_t, int> counts;
    constexpr int draws = 20000;
    for (int i = 0; i < draws; ++i) ++counts[sampler.draw(logits, Rng(3).fork(static_cast<std::uint64_t>(i))).id];
    double chi2 = 0;
    int cells = 0;
    double rare_p = 0, rare_count = 0;
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double count = counts[static_cast<std::int32_t>(i)];
      if (p[i] == 0) {
        EXPECT_EQ(count, 0) << "filtered token " << i << " was drawn, top_k " << o.top_k << " top_p " << o.top_p << " min_p " << o.min_p;
      }
      if (p[i] * draws < 10) {
        rare_p += p[i];
        rare_count += count;
        continue;
      }
      chi2 += (count - p[i] * draws) * (count - p[i] * draws) / (p[i] * draws);
      ++cells;
    }
    if (rare_p * draws >= 10) {
      chi2 += (rare_count - rare_p * draws) * (rare_count - rare_p * draws) / (rare_p * draws);
      ++cells;
    }
    EXPECT_LT(chi2, cells - 1 + 5 * std::sqrt(2.0 * (cells - 1)) + 5);  // five standard deviations
  }
}

TEST(Sampler, LogprobIsThatOfTheWholeDistributionAtTemperatureOne) {
  const auto logits = random_logits(49152, 3.0, 6);
  double total = 0;
  for (const float l : logits) total += std::exp(static_cast<double>(l));
  for (const SamplerOptions& o : {SamplerOptions{0.0, 0, 1.0, 0.0}, SamplerOptions{1.0, 0, 1.0, 0.0}, SamplerOptions{0.5, 0, 1.0, 0.0},
                                  SamplerOptions{2.0, 50, 0.9, 0.0}}) {
    Sampler sampler(o);
    for (std::uint64_t i = 0; i < 20; ++i) {
      const Draw draw = sampler.draw(logits, Rng(i));
      EXPECT_NEAR(draw.logprob, logits[static_cast<std::size_t>(draw.id)] - std::log(total), 2e-5);
    }
  }
}

TEST(Sampler, GreedyTakesTheFirstOfTheLargest) {
  std::vector<float> logits(100, 0.0F);
  logits[37] = logits[61] = 2.0F;
  Sampler sampler({0.0, 0, 1.0, 0.0});
  EXPECT_EQ(sampler.draw(logits, Rng(1)).id, 37);
  Sampler top_one({1.0, 1, 1.0, 0.0});
  for (std::uint64_t i = 0; i < 50; ++i) EXPECT_EQ(top_one.draw(logits, Rng(i)).id, 37);
}

TEST(Sampler, LogitsThatAreNotFiniteAreSeen) {
  std::vector<float> logits(100, std::nanf(""));
  Sampler sampler({1.0, 0, 1.0, 0.0});
  EXPECT_TRUE(std::isnan(sampler.draw(logits, Rng(1)).logprob));
}

}  // namespace
}  // namespace assay
