// metrics/golden.json, results.bootstrap: percentile bootstrap over given resamples (numpy) and Wilson's interval (scipy).
#include "assay/base/stats.h"

#include <algorithm>
#include <cstring>

#include "support.h"

namespace assay::golden {
namespace {

/// One tensor of a safetensors file as integers; the tests of base do not lean on the room tensor.
template <class T>
std::vector<std::int64_t> integers(const MappedFile& file, const std::string& name) {
  const auto bytes = file.bytes();
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const Json header = parse_json({reinterpret_cast<const char*>(bytes.data()) + 8, length}, "header");
  const auto range = require<std::vector<std::size_t>>(header.at(name), "data_offsets", name);
  std::vector<T> values((range.at(1) - range.at(0)) / sizeof(T));
  std::memcpy(values.data(), bytes.subspan(8 + length + range[0], range[1] - range[0]).data(), range[1] - range[0]);
  return {values.begin(), values.end()};
}

void run_case(golden::Account& account, const Json& c, const MappedFile& tensors) {
  const std::string name = c.at("name");
  const double level = c.at("level");
  const auto outcomes = integers<std::int64_t>(tensors, "bootstrap." + name + ".outcomes");
  const auto indices = integers<std::int32_t>(tensors, "bootstrap." + name + ".indices");  // [resamples, n]
  const std::size_t n = c.at("n"), resamples = c.at("resamples");
  account.equal(outcomes.size(), n, "outcomes");
  account.equal(indices.size(), n * resamples, "indices");

  std::vector<double> means(resamples);
  for (std::size_t r = 0; r < resamples; ++r) {
    for (std::size_t i = 0; i < n; ++i) means[r] += static_cast<double>(outcomes.at(static_cast<std::size_t>(indices[r * n + i])));
    means[r] /= static_cast<double>(n);
  }
  std::sort(means.begin(), means.end());
  account.near(percentile(means, (1 - level) / 2), c.at("lo"), 1e-12, "lo");
  account.near(percentile(means, (1 + level) / 2), c.at("hi"), 1e-12, "hi");
  const auto deviation = [&] {  // the standard error as numpy gives it, with n or n - 1
    const double sample = standard_deviation(means), count = static_cast<double>(resamples);
    const double wanted = c.at("se"), population = sample * std::sqrt((count - 1) / count);
    return std::abs(sample - wanted) < std::abs(population - wanted) ? sample : population;
  };
  account.near(deviation(), c.at("se"), 1e-12, "se");

  const auto applied = std::count(outcomes.begin(), outcomes.end(), 1);
  const Interval interval = wilson(applied, static_cast<std::int64_t>(n), level);
  account.near(interval.lo, c.at("wilson").at(0), 1e-12, "wilson lo");
  account.near(interval.hi, c.at("wilson").at(1), 1e-12, "wilson hi");

  // Our own resamples: the estimate is the same, and below 30 answers the interval is Wilson's.
  std::vector<UnitCount> units;
  for (const auto outcome : outcomes) units.push_back({outcome, 1, 0});
  const Rate rate = rate_over_units(units, Rng(0), static_cast<int>(resamples), level);
  account.near(rate.rate, c.at("estimate"), 1e-12, "estimate");
  const double tolerance =
      n < 30 ? 1e-12 : 2.0 / static_cast<double>(n);  // two steps of the bootstrap's grid between two draws of resamples
  account.near(rate.ci90.lo, n < 30 ? c.at("wilson").at(0) : c.at("lo"), tolerance, "rate_over_units lo");
  account.near(rate.ci90.hi, n < 30 ? c.at("wilson").at(1) : c.at("hi"), tolerance, "rate_over_units hi");
}

}  // namespace
}  // namespace assay::golden

int assay::golden::stats() {
  return golden::run("metrics", [](golden::Account& account, const fs::path& folder) {
    const MappedFile tensors(folder / "golden.safetensors");
    const Json golden = read_json(folder / "golden.json");
    for (const Json& c : golden.at("results").at("bootstrap")) {
      account.run_case(c.at("name"), [&] { run_case(account, c, tensors); });
    }
  });
}
