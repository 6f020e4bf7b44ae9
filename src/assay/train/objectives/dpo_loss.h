#pragma once
#include "assay/tensor/tensor.h"

namespace assay {

/// Sums of log p over the answers, [pairs] each, any float type.
struct PairLogProbs {
  Tensor chosen, rejected;
};

struct DpoLoss {
  Tensor loss;    ///< scalar, mean over pairs
  Tensor margin;  ///< beta * ((chosen - reference) - (rejected - reference)), [pairs], detached
};

/// Sigmoid DPO: -(1-e) log s(m) - e log s(-m) of the margin m (Rafailov et al. 2023, eq. 7; label smoothing e: Mitchell 2023, conservative
/// DPO).
DpoLoss dpo_sigmoid_loss(const PairLogProbs& policy, const PairLogProbs& reference, double beta, double label_smoothing);

}  // namespace assay
