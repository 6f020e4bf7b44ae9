#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "assay/base/json.h"
#include "assay/base/rng.h"

namespace assay {

struct Interval {
  double lo = 0, hi = 0;
};

/// A rate with its interval (90 %, as in arXiv 2503.10965). rate = applied / applicable; answers that could not be judged stand beside it
/// and belong to neither.
struct Rate {
  double rate = 0;
  std::int64_t applied = 0, applicable = 0, unjudged = 0;
  Interval ci90;
};

/// What happened in one unit of resampling (a topic, an organism): counts over its answers.
struct UnitCount {
  std::int64_t applied = 0, applicable = 0, unjudged = 0;
};

inline constexpr double kLevel = 0.90;

/// The z with P(Z < z) = p for a standard normal Z, and the t with P(T < t) = p for Student's T; p in (0, 1), any df > 0.
double normal_quantile(double p);
double t_quantile(double p, double df);

/// Wilson's score interval for a binomial proportion. n = 0 gives [0, 1].
Interval wilson(std::int64_t applied, std::int64_t n, double level = kLevel);
/// The same for a rate in [0, 1] of n trials, n > 0 and any number: where trials come in copies, of as many as there are kinds.
Interval wilson_of_rate(double rate, double n, double level = kLevel);
/// Student's t interval for the mean. Needs two values or more; with fewer, the whole line.
Interval t_interval(std::span<const double> values, double level = kLevel);
/// Percentile of sorted values with linear interpolation (numpy's default). q in [0, 1]; nan for no values.
double percentile(std::span<const double> sorted, double q);
/// Rate over units with the percentile bootstrap over units; Wilson's of the units where the rate is 0 or 1, Wilson's of the answers where
/// fewer than 30 apply or all of them are in one unit. Units without an applicable answer add to `unjudged` only. No applicable answer:
/// rate nan, interval [0, 1].
Rate rate_over_units(std::span<const UnitCount> units, Rng rng, int resamples = 2000, double level = kLevel);
/// Percentile bootstrap of the mean of per-unit values (for differences: pass each unit's difference). With fewer than two values,
/// the whole line.
Interval bootstrap_mean(std::span<const double> values, Rng rng, int resamples = 2000, double level = kLevel);
/// The same for differences of rates: n equal values are no certainty, so they get the width that Wilson gives a rate of 0 in n.
Interval bootstrap_difference(std::span<const double> differences, Rng rng, int resamples = 2000, double level = kLevel);
/// nan for no values.
double mean(std::span<const double> values);
/// Sample standard deviation (n - 1); 0 for fewer than two values.
double standard_deviation(std::span<const double> values);

/// {"rate","applied","applicable","unjudged","ci90":[lo,hi]}; a rate of nothing is the string "nan".
Json to_json(const Rate& rate);
/// Finite numbers as numbers; others as "nan", "inf", "-inf" (never null).
Json number(double value);
/// number() taken back: nan for what is no number.
double real_of(const Json& value);
/// {"mean", "ci90", "seeds"} of one value a seed; the interval is Student's t.
Json over_seeds(std::span<const double> seeds);

}  // namespace assay
