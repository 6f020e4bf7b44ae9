// Names of runs, their order, and what a folder of finished runs is summed up to.
#include <gtest/gtest.h>

#include "../error_of.h"
#include "assay/base/files.h"
#include "assay/base/stats.h"
#include "assay/routing/experiments/grid_experiment.h"

namespace assay::routing {
namespace {

TEST(GridExperiment, RunsByNameAndInOrder) {
  const auto runs = grid_runs({"naive", "routed", "naive"}, {.03, .1}, 2, 7);
  ASSERT_EQ(runs.size(), 8U);
  EXPECT_EQ(runs[0].name(), "naive:0.03:7");
  EXPECT_EQ(runs[3].name(), "routed:0.1:7");
  EXPECT_EQ(runs[4].name(), "naive:0.03:8");
  for (const GridRun& run : runs) EXPECT_EQ(parse_grid_run(run.name()).name(), run.name());
  for (const char* bad : {"", "routed", "routed:0.1", "routed:0.1:", "routed::3", "routed:0.1:3x", "magic:0.1:3", "routed:0.1:3:4"})
    EXPECT_NE(error_of([&] { parse_grid_run(bad); }), "") << bad;
}

TEST(GridExperiment, SettingsAreMeansOverFinishedSeeds) {
  const TemporaryFolder folder;
  const auto runs = grid_runs({"routed", "naive"}, {.1}, 3, 0);
  const auto finish = [&](const GridRun& run, double value, std::int64_t empty) {
    const Json json = {
        {"identity", {{"method", to_string(run.method)}, {"oversight", run.level}, {"seed", run.seed}}},
        {"curve", {{"update", {0, 10}}, {"x", {0, 10}}, {"return", {0.0, value}}}},
        {"metrics", {{"return", value}}},
        {"episodes", {{"return", Json::array()}}},
        {"training", {{"updates", 10}, {"cpu_s", 2.0}, {"observations_per_update", 5.0}, {"updates_with_empty_group", {{"kept", empty}}}}}};
    fs::create_directories(run.folder(folder.path()));
    write_json(run.folder(folder.path()) / "run.json", json);
  };
  finish(runs[0], .5, 1), finish(runs[2], .7, 2), finish(runs[1], .2, 0);  // routed twice, naive once
  const Json settings = grid_settings(runs, folder.path());
  ASSERT_EQ(settings.size(), 2U);
  const Json &routed = settings[0], &m = routed["metrics"]["return"];
  EXPECT_EQ(routed["method"], "routed");
  EXPECT_EQ(routed["seeds"], Json({0, 1}));
  EXPECT_NEAR(m["mean"].get<double>(), .6, 1e-12);
  const Interval ci = t_interval(std::vector<double>{.5, .7});
  EXPECT_NEAR(m["ci90"][0].get<double>(), ci.lo, 1e-12);
  EXPECT_NEAR(routed["curve"]["return"]["hi"][1].get<double>(), ci.hi, 1e-12);
  EXPECT_NEAR(routed["training"]["updates_per_cpu_s"].get<double>(), 5, 1e-12);
  EXPECT_EQ(routed["training"]["updates_with_empty_group"]["kept"], 3);
  EXPECT_EQ(settings[1]["metrics"]["return"]["ci90"][0], "-inf");
  const std::string table = grid_table({{"settings", settings}});
  EXPECT_TRUE(contains(table, "| 0.1 | routed | 2 | 10 | 0.600 | -0.031 to 1.231 | – | – |\n| 0.1 | naive | 1 | 10 | 0.200 | – |"))
      << table;
}

}  // namespace
}  // namespace assay::routing
