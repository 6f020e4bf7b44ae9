#include "assay/routing/experiments/grid_rollout.h"

#include <numeric>

namespace assay::routing {
namespace {

int draw_action(const GridAnswer& answer, double u) {
  double below = 0;
  for (int a = 0; a < kGridActions - 1; ++a) {
    below += answer.probability[static_cast<std::size_t>(a)];
    if (u < below) return a;
  }
  return kGridActions - 1;
}

}  // namespace

GridSteps roll(GridPass& pass, std::vector<GridEpisode>& environments, const GridWorldOptions& options, std::int64_t steps,
               const Rng& rng) {
  const std::size_t n = environments.size();
  GridSteps out{steps, static_cast<std::int64_t>(n), {}, {}, {}};
  const std::size_t size = static_cast<std::size_t>(steps) * n;
  out.row.resize(size), out.action.resize(size), out.outcome.resize(size);
  std::vector<Rng> streams;
  std::vector<std::int32_t> seen;  // what each policy sees now
  for (std::size_t e = 0; e < n; ++e) {
    streams.push_back(rng.fork(e));
    seen.push_back(observation(environments[e]));
  }
  for (std::size_t at = 0; at < size; at += n) {
    for (std::size_t e = 0; e < n; ++e) out.row[at + e] = pass.row(seen[e]);
    pass.forward();
    for (std::size_t e = 0; e < n; ++e) {
      const int action = draw_action(pass.answer(out.row[at + e]), streams[e].uniform());
      out.action[at + e] = static_cast<std::uint8_t>(action);
      const GridOutcome outcome = out.outcome[at + e] = act(environments[e], action);
      if (outcome.done && options.stale_observation) seen[e] = observation(environments[e]);
      if (outcome.done) environments[e] = new_episode(options.oversight, streams[e]);
      if (!(outcome.done && options.stale_observation)) seen[e] = observation(environments[e]);
    }
  }
  return out;
}

GridHindsight look_back(const GridSteps& s, const GridRewards& rewards, float discount) {
  GridHindsight h;
  h.returns.resize(s.row.size());
  h.labels.resize(s.row.size());
  const auto n = static_cast<std::size_t>(s.environments);
  for (std::size_t e = 0; e < n; ++e) {
    float to_go = 0;
    GridLabel label = GridLabel::none;
    for (std::size_t i = s.row.size() - n + e;; i -= n) {
      if (s.outcome[i].done) {
        label = s.outcome[i].label;
        to_go = rewards[static_cast<std::size_t>(label)];
      } else {
        to_go *= discount;
      }
      h.returns[i] = to_go;
      h.labels[i] = label;
      if (i < n) break;
    }
  }
  return h;
}

double true_return(const GridSteps& steps, float discount) {
  const GridHindsight h = look_back(steps, kTrueRewards, discount);
  return std::accumulate(h.returns.begin(), h.returns.end(), 0.0) / static_cast<double>(h.returns.size());
}

}  // namespace assay::routing
