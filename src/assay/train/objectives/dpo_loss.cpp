#include "assay/train/objectives/dpo_loss.h"

#include <ATen/ops/log_sigmoid.h>

namespace assay {

DpoLoss dpo_sigmoid_loss(const PairLogProbs& policy, const PairLogProbs& reference, double beta, double label_smoothing) {
  const Tensor margin = beta * ((policy.chosen - reference.chosen) - (policy.rejected - reference.rejected));
  Tensor losses = -(1.0 - label_smoothing) * at::log_sigmoid(margin);
  if (label_smoothing != 0) losses = losses - label_smoothing * at::log_sigmoid(-margin);
  return {.loss = losses.mean(), .margin = margin.detach()};
}

}  // namespace assay
