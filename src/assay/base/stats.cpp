#include "assay/base/stats.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <numbers>

namespace assay {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

/// The x >= 0 at which a function that falls from above `target` towards 0 passes it, to the last bit.
template <class Function>
double where_it_falls_to(double target, const Function& falling) {
  double lo = 0, hi = 1;
  while (falling(hi) > target && hi < 1e300) lo = hi, hi *= 2;
  for (;;) {
    const double middle = lo + (hi - lo) / 2;
    if (middle <= lo || middle >= hi) return middle;
    (falling(middle) > target ? lo : hi) = middle;
  }
}

/// Continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method.
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  const auto not_zero = [](double v) { return std::abs(v) < kTiny ? kTiny : v; };
  double c = 1, d = 1 / not_zero(1 - (a + b) * x / (a + 1)), result = d;
  for (int m = 1; m < 100000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / not_zero(1 + even * d), c = not_zero(1 + even / c), result *= c * d;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / not_zero(1 + odd * d), c = not_zero(1 + odd / c), result *= c * d;
    if (std::abs(c * d - 1) < 1e-16) break;
  }
  return result;
}

/// Regularised incomplete beta function I_x(a, b); the caller gives y = 1 - x too, which it knows without cancellation.
double incomplete_beta(double a, double b, double x, double y) {
  if (x <= 0) return 0;
  if (y <= 0) return 1;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log(y));
  return x < (a + 1) / (a + b + 2) ? front * beta_fraction(a, b, x) / a : 1 - front * beta_fraction(b, a, y) / b;
}

/// Percentile interval of what `statistic` says of each resample; it gets the indices of the units drawn one by one.
template <class Start, class Add, class Finish>
Interval percentile_bootstrap(std::size_t units, Rng rng, int resamples, double level, const Start& start, const Add& add,
                              const Finish& finish) {
  assert(resamples > 0);
  std::vector<double> values(static_cast<std::size_t>(resamples));
  for (double& value : values) {
    auto sums = start();
    for (std::size_t i = 0; i < units; ++i) add(sums, rng.below(units));
    value = finish(sums);
  }
  std::sort(values.begin(), values.end());
  return {percentile(values, (1 - level) / 2), percentile(values, (1 + level) / 2)};
}

}  // namespace

double normal_quantile(double p) {
  assert(p > 0 && p < 1);
  if (p < 0.5) return -normal_quantile(1 - p);
  return where_it_falls_to(1 - p, [](double z) { return 0.5 * std::erfc(z / std::numbers::sqrt2); });
}

double t_quantile(double p, double df) {
  assert(p > 0 && p < 1 && df > 0);
  if (p < 0.5) return -t_quantile(1 - p, df);
  if (p == 0.5) return 0;
  // P(T > t) = I_{df / (df + t²)}(df / 2, 1 / 2) / 2
  return where_it_falls_to(1 - p, [df](double t) {
    const double square = t * t;
    return 0.5 * incomplete_beta(df / 2, 0.5, df / (df + square), square / (df + square));
  });
}

Interval wilson(std::int64_t applied, std::int64_t n, double level) {
  assert(applied >= 0 && applied <= n);
  return n == 0 ? Interval{0, 1} : wilson_of_rate(static_cast<double>(applied) / static_cast<double>(n), static_cast<double>(n), level);
}

Interval wilson_of_rate(double p, double count, double level) {
  assert(p >= 0 && p <= 1 && count > 0);
  // Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
  const double z = normal_quantile((1 + level) / 2);
  const double scale = 1 + z * z / count, centre = (p + z * z / (2 * count)) / scale;
  const double half = z * std::sqrt(p * (1 - p) / count + z * z / (4 * count * count)) / scale;
  // At the ends the formula's exact value is 0 or 1; rounding must not leave the rate outside its own interval.
  return {p == 0 ? 0 : std::max(0.0, centre - half), p == 1 ? 1 : std::min(1.0, centre + half)};
}

Interval t_interval(std::span<const double> values, double level) {
  if (values.size() < 2) return {-kInf, kInf};
  const double n = static_cast<double>(values.size()), centre = mean(values);
  const double half = t_quantile((1 + level) / 2, n - 1) * standard_deviation(values) / std::sqrt(n);
  return {centre - half, centre + half};
}

double percentile(std::span<const double> sorted, double q) {
  assert(q >= 0 && q <= 1);
  if (sorted.empty()) return kNan;
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const double a = sorted[below], b = sorted[std::min(below + 1, sorted.size() - 1)], t = at - std::floor(at);
  return t < 0.5 ? a + (b - a) * t : b - (b - a) * (1 - t);  // numpy's rounding
}

Rate rate_over_units(std::span<const UnitCount> units, Rng rng, int resamples, double level) {
  Rate rate;
  std::vector<UnitCount> with_answers;
  for (const UnitCount& unit : units) {
    rate.applied += unit.applied, rate.applicable += unit.applicable, rate.unjudged += unit.unjudged;
    if (unit.applicable > 0) with_answers.push_back(unit);
  }
  rate.rate = rate.applicable == 0 ? kNan : static_cast<double>(rate.applied) / static_cast<double>(rate.applicable);
  const auto n_units = static_cast<std::int64_t>(with_answers.size());
  if (n_units > 1 && (rate.applied == 0 || rate.applied == rate.applicable)) {  // the unit counts, not its answers, which are alike
    rate.ci90 = wilson(rate.applied == 0 ? 0 : n_units, n_units, level);
    return rate;
  }
  if (rate.applicable < 30 || n_units < 2) {
    rate.ci90 = wilson(rate.applied, rate.applicable, level);
    return rate;
  }
  rate.ci90 = percentile_bootstrap(
      with_answers.size(), rng, resamples, level, [] { return UnitCount{}; },
      [&](UnitCount& sums, std::size_t i) { sums.applied += with_answers[i].applied, sums.applicable += with_answers[i].applicable; },
      [](const UnitCount& sums) { return static_cast<double>(sums.applied) / static_cast<double>(sums.applicable); });
  return rate;
}

Interval bootstrap_mean(std::span<const double> values, Rng rng, int resamples, double level) {
  if (values.size() < 2) return {-kInf, kInf};
  return percentile_bootstrap(
      values.size(), rng, resamples, level, [] { return 0.0; }, [&](double& sum, std::size_t i) { sum += values[i]; },
      [&](double sum) { return sum / static_cast<double>(values.size()); });
}

Interval bootstrap_difference(std::span<const double> differences, Rng rng, int resamples, double level) {
  if (differences.size() < 2) return {-1, 1};
  const double first = differences.front();
  if (std::any_of(differences.begin(), differences.end(), [&](double v) { return v != first; }))
    return bootstrap_mean(differences, rng, resamples, level);
  const double width = wilson(0, static_cast<std::int64_t>(differences.size()), level).hi;
  return {std::max(-1.0, first - width), std::min(1.0, first + width)};
}

double mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? kNan : sum / static_cast<double>(values.size());
}

double standard_deviation(std::span<const double> values) {
  if (values.size() < 2) return 0;
  const double centre = mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - centre) * (value - centre);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

Json number(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

double real_of(const Json& value) { return value.is_number() ? value.get<double>() : kNan; }

Json over_seeds(std::span<const double> seeds) {
  const Interval ci = t_interval(seeds);
  Json each = Json::array();
  for (const double value : seeds) each.push_back(number(value));
  return {{"mean", number(mean(seeds))}, {"ci90", {number(ci.lo), number(ci.hi)}}, {"seeds", each}};
}

Json to_json(const Rate& rate) {
  return Json{{"rate", number(rate.rate)},
              {"applied", rate.applied},
              {"applicable", rate.applicable},
              {"unjudged", rate.unjudged},
              {"ci90", Json::array({number(rate.ci90.lo), number(rate.ci90.hi)})}};
}

}  // namespace assay
