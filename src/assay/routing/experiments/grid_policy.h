#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "assay/base/rng.h"
#include "assay/routing/experiments/grid_value.h"
#include "assay/tensor/tensor.h"
#include "assay/train/adamw.h"

namespace assay::routing {

/// Flat observation -> 256 -> 256, ReLU after each.
struct GridNet {
  Tensor W_in, b_in;  ///< [100, 256] (a row for each input), [256]
  Tensor W, b;        ///< [256 out, 256 in], [256]
};

/// Probability that the Diamond expert acts. A 1x1 convolution before the net, without ReLU as in the reference code (the paper has one).
struct GridGate {
  Tensor conv, conv_bias;  ///< [4 out, 4 in], [4]
  GridNet net;
  Tensor W_out, b_out;  ///< [256], [1]
};

/// h = g E_D + (1 - g) E_G -> 4 logits, and the value net beside it. With one expert g is 1, with two and no gate .5.
struct GridPolicy {
  std::vector<GridNet> experts;  ///< Diamond, Ghost; or the only one
  std::optional<GridGate> gate;
  Tensor W_out, b_out;  ///< [4, 256], [4]
  GridValue value;

  /// Weights uniform in ±1/sqrt(fan in), PyTorch's default; biases 0.
  static GridPolicy random(int experts, bool gate, const Rng& rng);
  [[nodiscard]] std::vector<TrainedParameter> parameters() const;
};

}  // namespace assay::routing
