#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/base/progress.h"
#include "assay/train/objective.h"

namespace assay {

enum class Schedule { constant, linear, cosine, wsd };

struct TrainOptions {
  std::int64_t steps = 100;
  double lr = 1e-3, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.0;  ///< decoupled decay, on matrices only
  double clip_norm = 1.0;                                                       ///< 0 = none
  std::int64_t warmup_steps = 10;
  Schedule schedule = Schedule::linear;  ///< after warm-up, down to lr * final_lr_fraction at the last step
  double final_lr_fraction = 0.0;
  double wsd_decay_share = 0.2;  ///< WSD: the share of steps at the end that decays
  std::int64_t accumulate = 1;   ///< micro-batches a step
  Precision precision = Precision::bf16;
  std::vector<std::string> frozen;      ///< how parameter names begin ("model.embed_tokens", "model.layers.*.mlp")
  std::int64_t checkpoint_every = 200;  ///< steps; 0 = only at the end
  std::int64_t log_every = 10;
  std::int64_t probe_every = 0;  ///< steps between calls of the probe; 0 = never
};

struct TrainResult {
  std::int64_t steps = 0, tokens = 0;
  double final_loss = 0;  ///< mean over the last tenth of the steps
  double cpu_s = 0, wall_s = 0;
  bool stopped_by_probe = false;
  std::map<std::string, double> probe;  ///< its last values
};

/// What a probe says: values for the log, and whether training may end here.
struct ProbeResult {
  std::map<std::string, double> values;
  bool stop = false;
};
using Probe = std::function<ProbeResult(const Transformer&, std::int64_t step)>;

/// Trains in place. `folder` holds metrics.jsonl and checkpoints (weights, moments, step) written atomically; a run stopped at any point
/// continues from the last one to the same bits with the same thread count. A folder whose checkpoint was made with other options is
/// refused with the difference named.
TrainResult train(Transformer& model, Objective& objective, const TrainOptions& options, const std::filesystem::path& folder,
                  Progress& progress, const Probe& probe = {});

Json to_json(const TrainOptions& options);

}  // namespace assay
