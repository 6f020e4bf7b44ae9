#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/routing/experiments/grid_methods.h"

namespace assay::routing {

/// One policy of an experiment.
struct GridRun {
  GridMethod method = GridMethod::routed;
  double level = .03;
  std::uint64_t seed = 0;
  [[nodiscard]] std::string name() const;  ///< METHOD:LEVEL:SEED
  [[nodiscard]] std::filesystem::path folder(const std::filesystem::path& out) const;
};
GridRun parse_grid_run(const std::string& name);

/// Every method at every level with `seeds` seeds from `first_seed` on; one seed of all first, so that a stopped experiment tells most.
std::vector<GridRun> grid_runs(const std::vector<std::string>& methods, const std::vector<double>& levels, int seeds,
                               std::uint64_t first_seed);

/// The finished runs of a folder by method and level: {"method", "level", "seeds", "metrics": {name: {"mean", "ci90", "seeds"}},
/// "curve": {"x", name: {"mean", "lo", "hi"}}, "episodes", "training"}. Intervals are t intervals over seeds.
Json grid_settings(const std::vector<GridRun>& runs, const std::filesystem::path& out);
/// The same for people: a markdown table, methods in order of the return at each level.
std::string grid_table(const Json& results);

}  // namespace assay::routing
