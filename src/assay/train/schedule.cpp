#include "assay/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace assay {

double learning_rate(const TrainOptions& options, std::int64_t step) {
  const auto warmup = std::min(options.warmup_steps, options.steps);
  if (step < warmup) return options.lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
  // How much of [first, last step] is behind, in [0, 1].
  const auto progress = [&](std::int64_t first) {
    const std::int64_t length = options.steps - 1 - first;
    return length <= 0 ? 1.0 : std::clamp(static_cast<double>(step - first) / static_cast<double>(length), 0.0, 1.0);
  };
  const double final_rate = options.final_lr_fraction;
  double share = 1.0;  // of the way from the final rate (0) to the full one (1)
  switch (options.schedule) {
    case Schedule::constant:
      return options.lr;
    case Schedule::linear:
      share = 1.0 - progress(std::max<std::int64_t>(warmup - 1, 0));
      break;
    case Schedule::cosine:
      share = 0.5 * (1.0 + std::cos(std::numbers::pi * progress(std::max<std::int64_t>(warmup - 1, 0))));
      break;
    case Schedule::wsd: {  // warm-up, stable, decay (Hu et al. 2024), linear decay
      const auto decay = static_cast<std::int64_t>(std::llround(options.wsd_decay_share * static_cast<double>(options.steps)));
      const std::int64_t first = std::max(warmup, options.steps - decay) - 1;
      share = step <= first ? 1.0 : 1.0 - progress(first);
      break;
    }
  }
  return options.lr * (final_rate + (1.0 - final_rate) * share);
}

}  // namespace assay
