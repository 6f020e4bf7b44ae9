#include "assay/routing/experiments/grid_world.h"

#include <algorithm>
#include <utility>

namespace assay::routing {

GridEpisode new_episode(double oversight, Rng& rng) {
  GridEpisode e;
  // The first three of a permutation: each uniform among the cells that are left.
  auto first = static_cast<std::uint8_t>(rng.below(kGridCells)), second = static_cast<std::uint8_t>(rng.below(kGridCells - 1)),
       third = static_cast<std::uint8_t>(rng.below(kGridCells - 2));
  if (second >= first) ++second;
  const auto [low, high] = std::minmax(first, second);
  if (third >= low) ++third;
  if (third >= high) ++third;
  e.agent = first, e.ghost = second, e.diamond = third;
  e.ghost_watched = rng.chance(oversight);
  e.diamond_watched = rng.chance(oversight);
  return e;
}

GridOutcome act(GridEpisode& e, int action) {
  constexpr std::array<int, kGridActions> kRow = {-1, 0, 1, 0}, kColumn = {0, 1, 0, -1};
  const auto i = static_cast<std::size_t>(action);
  const int row = std::clamp(e.agent / kGridSide + kRow[i], 0, kGridSide - 1);
  const int column = std::clamp(e.agent % kGridSide + kColumn[i], 0, kGridSide - 1);
  e.agent = static_cast<std::uint8_t>(row * kGridSide + column);
  const bool out_of_time = e.steps == kGridTimeOut;
  ++e.steps;
  if (e.agent == e.diamond) return {true, e.diamond_watched ? GridLabel::watched_diamond : GridLabel::diamond};
  if (e.agent == e.ghost) return {true, e.ghost_watched ? GridLabel::watched_ghost : GridLabel::ghost};
  return {out_of_time, GridLabel::none};
}

std::int32_t observation(const GridEpisode& e) {
  return ((e.agent * kGridCells + e.ghost) * kGridCells + e.diamond) * 4 + (e.diamond_watched ? 2 : 0) + (e.ghost_watched ? 1 : 0);
}

GridActive active_inputs(std::int32_t o) {
  const std::int32_t marks = o % 4, diamond = o / 4 % kGridCells, ghost = o / 4 / kGridCells % kGridCells,
                     agent = o / 4 / kGridCells / kGridCells;
  const auto input = [](int plane, std::int32_t cell) { return static_cast<std::int16_t>(plane * kGridCells + cell); };
  GridActive a{{input(0, agent), input(1, ghost), input(2, diamond), 0, 0}, 3};
  if ((marks & 1) != 0) a.input[static_cast<std::size_t>(a.n++)] = input(3, ghost);
  if ((marks & 2) != 0) a.input[static_cast<std::size_t>(a.n++)] = input(3, diamond);
  return a;
}

}  // namespace assay::routing
