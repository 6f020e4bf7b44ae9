#pragma once
#include <cstdint>

#include "assay/train/trainer.h"

namespace assay {

/// Learning rate of a step (0-based): linear warm-up to options.lr over warmup_steps, then the schedule, which reaches lr *
/// final_lr_fraction at the last step.
double learning_rate(const TrainOptions& options, std::int64_t step);

}  // namespace assay
