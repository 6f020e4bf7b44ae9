#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "assay/base/json.h"
#include "assay/base/progress.h"
#include "assay/model/transformer.h"
#include "assay/routing/experiments/grid_methods.h"
#include "assay/train/adamw.h"

namespace assay::routing {

struct GridOptions {
  GridMethod method = GridMethod::routed;
  GridWorldOptions world;
  std::uint64_t seed = 0;
  std::int64_t updates = 20000;  ///< of the methods with partial oversight; the oracle makes oversight times as many
  std::int64_t environments = 512, steps = 32;
  double discount = .97, lr = 5e-5;
  GridLossOptions loss;
  std::int64_t curve_points = 50;       ///< evaluations on the way
  std::int64_t final_evaluations = 10;  ///< of the trained policy, averaged
  std::int64_t checkpoint_every = 500;  ///< updates
  Precision precision = Precision::bf16;
};

/// How many updates the method makes: an oracle is watched everywhere, so it may train a share `oversight` as long.
std::int64_t updates_of(const GridOptions& options);
/// An Error that names the flag.
void check(const GridOptions& options);
/// What a run is and depends on: a folder is gone on with only if it says the same.
Json grid_identity(const GridOptions& options);

/// A policy in training: everything that the next update depends on.
class GridTraining {
 public:
  explicit GridTraining(const GridOptions& options);
  GridTraining(const GridTraining&) = delete;
  GridTraining& operator=(const GridTraining&) = delete;
  struct Report {
    GridLosses losses;
    std::int64_t observations = 0;  ///< distinct ones of the rollout
    double true_return = 0;
  };
  /// One rollout and one step of Adam.
  Report update();
  [[nodiscard]] std::int64_t updates() const { return updates_; }

  /// Mean true return of 512 new environments over 32 steps. gate: 1 = the Diamond expert alone, 0 = the Ghost expert; none = as trained.
  double evaluate(std::optional<float> gate, std::uint64_t draw);
  /// Episodes from fixed starts (frames of the report): {"policy", "ghost", "diamond", "path", "reached"}.
  Json episodes(std::optional<float> gate);

  [[nodiscard]] NamedTensors weights() const;  ///< and the environments
  [[nodiscard]] NamedTensors optimizer() const { return adam_.state(); }
  void load(const NamedTensors& weights, const NamedTensors& optimizer, std::int64_t updates);

 private:
  GridOptions options_;
  GridPolicy policy_;
  GridPass pass_;
  AdamW adam_;
  std::vector<GridEpisode> environments_;
  std::int64_t updates_ = 0;
};

/// Trains and measures one policy. `folder` gets checkpoint.safetensors on the way, then policy.safetensors and, last, run.json, which is
/// returned; what is there already is not done again. Stopped, it saves where it stands and throws Interrupted.
Json run_grid(const GridOptions& options, const std::filesystem::path& folder, Progress& progress);

}  // namespace assay::routing
