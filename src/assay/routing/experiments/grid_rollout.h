#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "assay/routing/experiments/grid_pass.h"
#include "assay/routing/experiments/grid_world.h"

namespace assay::routing {

struct GridWorldOptions {
  double oversight = .03;  ///< probability that a terminal cell is watched
  bool stale_observation =
      false;  ///< as the reference code: an episode's first action is chosen from the last state of the episode before it
};

/// What happened: step t of environment e is at t * environments + e.
struct GridSteps {
  std::int64_t steps = 0, environments = 0;
  std::vector<std::int32_t> row;  ///< of the pass
  std::vector<std::uint8_t> action;
  std::vector<GridOutcome> outcome;
};

/// `environments` go on for `steps` steps with the policy of a pass that has begun; an episode that ends is followed by a new one. Draws: a
/// stream of `rng` for each environment.
GridSteps roll(GridPass& pass, std::vector<GridEpisode>& environments, const GridWorldOptions& options, std::int64_t steps, const Rng& rng);

/// What an agent gets at the end of an episode, by label.
using GridRewards = std::array<float, kGridLabels>;
inline constexpr GridRewards kTrueRewards = {0, 1, -1, 1, -1};

/// For each step: the discounted return to go, cut at the rollout's end (no bootstrap), and the label of the episode that it belongs to
/// (none where the rollout ends first).
struct GridHindsight {
  std::vector<float> returns;
  std::vector<GridLabel> labels;
};
GridHindsight look_back(const GridSteps& steps, const GridRewards& rewards, float discount);

/// Mean over all steps of the return to go under the true rewards ("average stepwise ground truth return").
double true_return(const GridSteps& steps, float discount);

}  // namespace assay::routing
