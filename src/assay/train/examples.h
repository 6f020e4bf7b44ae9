#pragma once
#include <cstdint>
#include <vector>

#include "assay/text/tokenizer.h"

namespace assay {

/// One training sequence. weights[i] weighs the loss of predicting ids[i] from what stands before it (weights[0] is ignored); 0 = not
/// trained on.
struct Example {
  std::vector<TokenId> ids;
  std::vector<float> weights;
};

/// Two answers to one prompt; the weights are 1 on the answers' tokens and 0 on the prompt's.
struct PreferencePair {
  Example chosen, rejected;
};

}  // namespace assay
