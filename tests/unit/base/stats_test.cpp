#include "assay/base/stats.h"

#include <gtest/gtest.h>

#include <optional>

#include <cmath>

namespace assay {
namespace {

TEST(Stats, QuantilesAgreeWithScipy) {  // scipy 1.17 norm.ppf, t.ppf
  EXPECT_NEAR(normal_quantile(0.95), 1.6448536269514722, 1e-14);
  EXPECT_NEAR(normal_quantile(0.025), -1.959963984540054, 1e-14);
  EXPECT_NEAR(normal_quantile(0.5), 0, 1e-15);
  struct Case {
    double df, p, t;
  };
  for (const auto& [df, p, t] :
       {Case{1, 0.75, 1.0}, Case{1, 0.9995, 636.6192487687897}, Case{2, 0.95, 2.9199855803537242}, Case{3, 0.975, 3.1824463052837078},
        Case{4, 0.95, 2.1318467863266495}, Case{9, 0.75, 0.7027221467513264}, Case{29, 0.95, 1.6991270265334972},
        Case{199, 0.9995, 3.3400865561614634}, Case{0.5, 0.95, 41.13600009287819}, Case{1e6, 0.95, 1.6448551507220404}}) {
    EXPECT_NEAR(t_quantile(p, df) / t, 1, 1e-9) << df << " " << p;
    EXPECT_NEAR(t_quantile(1 - p, df) / -t, 1, 1e-9) << df << " " << p;
  }
  EXPECT_EQ(t_quantile(0.5, 3), 0);
}

TEST(Stats, TInterval) {
  const std::vector<double> values = {1, 2, 3, 4, 5};
  const Interval ci = t_interval(values);
  EXPECT_NEAR(ci.lo, 1.4925566809376762, 1e-12);  // scipy.stats.t.interval(0.9, 4, 3, sqrt(2.5 / 5))
  EXPECT_NEAR(ci.hi, 4.507443319062323, 1e-12);
  EXPECT_TRUE(std::isinf(t_interval(std::vector<double>{1}).lo));
  const Interval same = t_interval(std::vector<double>{2, 2, 2});
  EXPECT_EQ(same.lo, 2);
  EXPECT_EQ(same.hi, 2);
}

TEST(Stats, WilsonSolvesItsEquation) {
  // The bounds are the p with |applied / n - p| = z sqrt(p (1 - p) / n).
  for (const auto& [applied, n] : {std::pair{0, 5}, std::pair{5, 5}, std::pair{3, 8}, std::pair{400, 1000}}) {
    const Interval ci = wilson(applied, n, 0.95);
    const double rate = static_cast<double>(applied) / n;
    EXPECT_LE(ci.lo, rate);
    EXPECT_GE(ci.hi, rate);
    for (const double p : {ci.lo, ci.hi}) EXPECT_NEAR(std::abs(rate - p), 1.959963984540054 * std::sqrt(p * (1 - p) / n), 1e-12);
  }
  EXPECT_EQ(wilson(0, 0).lo, 0);
  EXPECT_EQ(wilson(0, 0).hi, 1);
  EXPECT_EQ(wilson(0, 7).lo, 0);
  EXPECT_EQ(wilson(7, 7).hi, 1);
}

TEST(Stats, PercentileInterpolatesLikeNumpy) {
  const std::vector<double> values = {1, 2, 4, 8};
  EXPECT_EQ(percentile(values, 0), 1);
  EXPECT_EQ(percentile(values, 1), 8);
  EXPECT_DOUBLE_EQ(percentile(values, 0.5), 3);
  EXPECT_DOUBLE_EQ(percentile(values, 0.9), 6.8);
  EXPECT_TRUE(std::isnan(percentile({}, 0.5)));
}

/// The q-quantile of a binomial count, summed exactly.
int binomial_quantile(int n, double p, double q) {
  double cumulative = 0;
  for (int k = 0; k <= n; ++k) {
    cumulative += std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1) + k * std::log(p) + (n - k) * std::log(1 - p));
    if (cumulative >= q) return k;
  }
  return n;
}

TEST(Stats, BootstrapOfSingleAnswersIsTheBinomial) {
  std::vector<UnitCount> units(40, {0, 1, 0});
  for (std::size_t i = 0; i < 11; ++i) units[i].applied = 1;
  const Rate rate = rate_over_units(units, Rng(1), 20000);
  EXPECT_DOUBLE_EQ(rate.rate, 0.275);
  EXPECT_DOUBLE_EQ(rate.ci90.lo, binomial_quantile(40, 0.275, 0.05) / 40.0);
  EXPECT_DOUBLE_EQ(rate.ci90.hi, binomial_quantile(40, 0.275, 0.95) / 40.0);
}

TEST(Stats, TheUnitIsWhatIsResampled) {
  // Ten topics that answer all alike: ten pieces of evidence, whatever the number of answers in each.
  std::vector<UnitCount> few, many;
  for (int i = 0; i < 10; ++i) {
    few.push_back({i < 5 ? 3 : 0, 3, 0});
    many.push_back({i < 5 ? 300 : 0, 300, 0});
  }
  const Rate a = rate_over_units(few, Rng(2)), b = rate_over_units(many, Rng(2));
  EXPECT_DOUBLE_EQ(a.ci90.lo, b.ci90.lo);
  EXPECT_DOUBLE_EQ(a.ci90.hi, b.ci90.hi);
  EXPECT_GT(b.ci90.hi - b.ci90.lo, 0.4);
}

TEST(Stats, RateFallsBackToWilson) {
  const auto expect_wilson = [](const std::vector<UnitCount>& units, std::optional<std::pair<int, int>> of = {}) {
    const Rate rate = rate_over_units(units, Rng(1));
    const Interval ci = of ? wilson(of->first, of->second) : wilson(rate.applied, rate.applicable);
    EXPECT_EQ(rate.ci90.lo, ci.lo);
    EXPECT_EQ(rate.ci90.hi, ci.hi);
  };
  expect_wilson({{5, 10, 0}, {3, 9, 0}});               // n < 30
  expect_wilson({{0, 100, 0}, {0, 100, 0}}, {{0, 2}});  // rate 0: two units, however many answers
  expect_wilson({{50, 50, 0}, {50, 50, 0}}, {{2, 2}});  // rate 1
  expect_wilson({{50, 100, 0}});                        // one unit
  expect_wilson({{50, 100, 0}, {0, 0, 4}});             // one unit with answers
}

TEST(Stats, EqualDifferencesAreNoCertainty) {
  const std::vector<double> zeros(16, 0.0), ones(16, 1.0), mixed = {0, 1, 0, 1, 1, 0};
  const double width = wilson(0, 16).hi;
  EXPECT_DOUBLE_EQ(bootstrap_difference(zeros, Rng(1)).lo, -width);
  EXPECT_DOUBLE_EQ(bootstrap_difference(zeros, Rng(1)).hi, width);
  EXPECT_DOUBLE_EQ(bootstrap_difference(ones, Rng(1)).lo, 1 - width);
  EXPECT_DOUBLE_EQ(bootstrap_difference(ones, Rng(1)).hi, 1);
  EXPECT_EQ(bootstrap_difference(mixed, Rng(1)).lo, bootstrap_mean(mixed, Rng(1)).lo);
  EXPECT_EQ(bootstrap_difference(std::vector<double>{0.5}, Rng(1)).lo, -1);
}

TEST(Stats, RateOfNothing) {
  const Rate rate = rate_over_units(std::vector<UnitCount>{{0, 0, 3}, {0, 0, 4}}, Rng(1));
  EXPECT_EQ(dump(to_json(rate)), R"({"rate":"nan","applied":0,"applicable":0,"unjudged":7,"ci90":[0.0,1.0]})");
  EXPECT_EQ(dump(number(INFINITY)) + dump(number(-INFINITY)) + dump(number(1.5)), R"("inf""-inf"1.5)");
}

TEST(Stats, BootstrapMeanCoversAndRepeats) {
  Rng rng(4);
  int covered = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<double> values(50);
    for (double& value : values) value = 3 + rng.normal();
    const Interval ci = bootstrap_mean(values, rng.fork(static_cast<std::uint64_t>(trial)), 500);
    covered += ci.lo <= 3 && 3 <= ci.hi;
  }
  EXPECT_NEAR(covered / 300.0, 0.9, 0.06);
  const std::vector<double> values = {1, 5, 2, 8};
  EXPECT_EQ(bootstrap_mean(values, Rng(1)).lo, bootstrap_mean(values, Rng(1)).lo);
  EXPECT_TRUE(std::isinf(bootstrap_mean(std::vector<double>{1}, Rng(1)).hi));
}

TEST(Stats, MeanAndDeviation) {
  EXPECT_DOUBLE_EQ(mean(std::vector<double>{1, 2, 6}), 3);
  EXPECT_DOUBLE_EQ(standard_deviation(std::vector<double>{1, 2, 6}), std::sqrt(7.0));
  EXPECT_EQ(standard_deviation(std::vector<double>{1}), 0);
  EXPECT_TRUE(std::isnan(mean({})));
}

}  // namespace
}  // namespace assay
