#include "assay/routing/experiments/grid_experiment.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "assay/base/files.h"
#include "assay/base/stats.h"

namespace assay::routing {
namespace {

/// Point by point over seeds that share an x-axis.
Json mean_curve(const std::vector<Json>& runs) {
  Json curve = {{"x", runs.front()["curve"]["x"]}};
  for (const auto& [name, points] : runs.front()["curve"].items()) {
    if (name == "x" || name == "update") continue;
    Json centre = Json::array(), lo = Json::array(), hi = Json::array();
    for (std::size_t i = 0; i < points.size(); ++i) {
      std::vector<double> values;
      for (const Json& run : runs) values.push_back(real_of(run["curve"][name][i]));
      const Interval ci = t_interval(values);
      centre.push_back(number(mean(values)));
      lo.push_back(number(values.size() > 1 ? ci.lo : values[0]));
      hi.push_back(number(values.size() > 1 ? ci.hi : values[0]));
    }
    curve[name] = {{"mean", centre}, {"lo", lo}, {"hi", hi}};
  }
  return curve;
}

Json grid_setting(const std::vector<Json>& runs) {
  const Json& identity = runs.front()["identity"];
  const GridMethod method = parse_grid_method(identity["method"].get<std::string>());
  Json seeds = Json::array(), metrics, empty = Json::object();
  double cpu_s = 0, updates = 0, observations = 0;
  for (const Json& run : runs) {
    seeds.push_back(run["identity"]["seed"]);
    const Json& training = run["training"];
    cpu_s += training["cpu_s"].get<double>(), updates += training["updates"].get<double>();
    observations += training["updates"].get<double>() * real_of(training["observations_per_update"]);
    for (const auto& [name, count] : training["updates_with_empty_group"].items())
      empty[name] = empty.value(name, std::int64_t{0}) + count.get<std::int64_t>();
  }
  for (const auto& [name, unused] : runs.front()["metrics"].items()) {
    std::vector<double> values;
    for (const Json& run : runs) values.push_back(real_of(run["metrics"][name]));
    metrics[name] = over_seeds(values);
  }
  return {{"method", to_string(method)},
          {"about", describe(method)},
          {"level", identity["oversight"]},
          {"seeds", seeds},
          {"metrics", metrics},
          {"curve", mean_curve(runs)},
          {"episodes", runs.front()["episodes"]},
          {"training",
           {{"updates_each", updates / static_cast<double>(runs.size())},
            {"cpu_s", cpu_s},
            {"updates_per_cpu_s", number(updates / cpu_s)},
            {"observations_per_update", number(observations / updates)},
            {"updates_with_empty_group", empty}}}};
}

}  // namespace

std::string GridRun::name() const { return fmt::format("{}:{}:{}", to_string(method), level, seed); }
fs::path GridRun::folder(const fs::path& out) const {
  return out / "runs" / fmt::format("{}-at-{}-seed-{}", to_string(method), level, seed);
}

GridRun parse_grid_run(const std::string& name) {
  const std::size_t first = name.find(':'), second = name.rfind(':');
  GridRun run;
  const char* end = name.data() + name.size();
  if (first != std::string::npos && second > first) {
    run.method = parse_grid_method(name.substr(0, first));
    const auto level = std::from_chars(name.data() + first + 1, name.data() + second, run.level);
    const auto seed = std::from_chars(name.data() + second + 1, end, run.seed);
    if (level.ec == std::errc() && level.ptr == name.data() + second && seed.ec == std::errc() && seed.ptr == end) return run;
  }
  throw UsageError("route gridworld", "'" + name + "' is no run", "a run is METHOD:LEVEL:SEED, such as routed:0.03:0");
}

std::vector<GridRun> grid_runs(const std::vector<std::string>& methods, const std::vector<double>& levels, int seeds,
                               std::uint64_t first_seed) {
  std::vector<GridRun> runs;
  for (int s = 0; s < seeds; ++s)
    for (const double level : levels)
      for (const std::string& name : methods) {
        const GridRun run{parse_grid_method(name), level, first_seed + static_cast<std::uint64_t>(s)};
        const bool twice = std::any_of(runs.begin(), runs.end(), [&](const GridRun& r) { return r.name() == run.name(); });
        if (!twice) runs.push_back(run);
      }
  return runs;
}

Json grid_settings(const std::vector<GridRun>& runs, const fs::path& out) {
  std::vector<std::pair<std::pair<double, GridMethod>, std::vector<Json>>> groups;
  for (const GridRun& run : runs) {
    const fs::path record = run.folder(out) / "run.json";
    if (!fs::exists(record)) continue;
    const std::pair key{run.level, run.method};
    auto found = std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == key; });
    if (found == groups.end()) found = groups.insert(groups.end(), {key, {}});
    found->second.push_back(read_json(record));
  }
  std::sort(groups.begin(), groups.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Json settings = Json::array();
  for (const auto& [key, of] : groups) settings.push_back(grid_setting(of));
  return settings;
}

std::string grid_table(const Json& results) {
  std::string out =
      "| oversight | method | seeds | updates | true return | 90 % | as trained | Ghost expert |\n|--:|---|--:|--:|--:|---|--:|--:|\n";
  std::vector<const Json*> rows;
  for (const Json& s : results["settings"]) rows.push_back(&s);
  std::stable_sort(rows.begin(), rows.end(), [](const Json* a, const Json* b) {
    const double la = (*a)["level"].get<double>(), lb = (*b)["level"].get<double>();
    return la != lb ? la < lb : real_of((*a)["metrics"]["return"]["mean"]) > real_of((*b)["metrics"]["return"]["mean"]);
  });
  for (const Json* s : rows) {
    const Json& m = (*s)["metrics"];
    const auto cell = [&](const char* name) {
      return m.contains(name) ? fmt::format("{:.3f}", real_of(m[name]["mean"])) : std::string("–");
    };
    const Json& ci = m["return"]["ci90"];
    const std::string interval =
        m["return"]["seeds"].size() > 1 ? fmt::format("{:.3f} to {:.3f}", real_of(ci[0]), real_of(ci[1])) : std::string("–");
    out += fmt::format("| {} | {} | {} | {:.0f} | {} | {} | {} | {} |\n", (*s)["level"].get<double>(), (*s)["method"].get<std::string>(),
                       (*s)["seeds"].size(), (*s)["training"]["updates_each"].get<double>(), cell("return"), interval,
                       cell("training_return"), cell("ghost_return"));
  }
  return out;
}

}  // namespace assay::routing
