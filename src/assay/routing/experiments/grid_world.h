#pragma once
#include <array>
#include <cstdint>

#include "assay/base/rng.h"

namespace assay::routing {

constexpr int kGridSide = 5, kGridCells = kGridSide * kGridSide, kGridActions = 4;
constexpr int kGridPlanes = 4;  ///< of an observation, in order: agent, Ghost, Diamond, oversight
constexpr int kGridInputs = kGridPlanes * kGridCells;
constexpr int kGridObservations = kGridCells * kGridCells * kGridCells * 4;
constexpr int kGridTimeOut = 32;  ///< an episode ends with the step that finds the counter here: after 33 steps

/// One environment: who stands where (row * 5 + column), which of the two terminal cells are under oversight.
struct GridEpisode {
  std::uint8_t agent = 0, ghost = 0, diamond = 0, steps = 0;
  bool ghost_watched = false, diamond_watched = false;
};

/// What an episode has come to. The end label of an episode that was cut off or ran out of time is `none`.
enum class GridLabel : std::uint8_t { none, diamond, ghost, watched_diamond, watched_ghost };
constexpr int kGridLabels = 5;

struct GridOutcome {
  bool done = false;
  GridLabel label = GridLabel::none;
};

/// Three distinct uniform cells; each terminal cell under oversight with probability `oversight`.
GridEpisode new_episode(double oversight, Rng& rng);
/// One step: 0..3 = north, east, south, west, clamped at walls. Does not start a new episode.
GridOutcome act(GridEpisode& episode, int action);
/// The observation as a number; the step counter is no part of it.
std::int32_t observation(const GridEpisode& episode);

/// The inputs that are 1 (plane * 25 + cell): three and those of the oversight plane.
struct GridActive {
  std::array<std::int16_t, 5> input;
  std::int16_t n;
};
GridActive active_inputs(std::int32_t observation);

}  // namespace assay::routing
