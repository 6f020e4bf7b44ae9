#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "assay/base/rng.h"
#include "assay/routing/experiments/grid_world.h"
#include "assay/tensor/tensor.h"
#include "assay/train/adamw.h"

namespace assay::routing {

constexpr std::int64_t kGridWidth = 256;  ///< of every hidden layer

/// Uniform in ±1/sqrt(fan in), PyTorch's default.
Tensor grid_weight(std::vector<std::int64_t> shape, std::int64_t fan_in, Rng rng);
/// [m, k] [k, n], added up in order on this thread: libtorch's bits depend on the number of threads.
Tensor small_product(const Tensor& a, const Tensor& b);

/// The value net: Conv1x1(4 -> 16), Linear 400 -> 256 -> 32 -> 1, without non-linearities as in the reference code. As a function of the
/// observation it is therefore 100 weights and a constant, and its gradients are functions of two sums over steps: it costs nothing, while
/// its parameters move exactly as if it had been run layer by layer.
struct GridValue {
  Tensor conv, conv_bias;  ///< [16, 4], [16]
  Tensor W1, b1;           ///< [256, 400] (input channel * 25 + cell), [256]
  Tensor W2, b2;           ///< [32, 256], [32]
  Tensor W3, b3;           ///< [1, 32], [1]

  static GridValue random(const Rng& rng);
  void add_parameters(std::vector<TrainedParameter>& to) const;

  /// V(x) = constant + sum of weight over the inputs that are 1.
  struct Collapsed {
    std::array<float, kGridInputs> weight;
    float constant;
  };
  [[nodiscard]] Collapsed collapse() const;
  /// Sets the gradients: `inputs` = sum over steps of dL/dV times the observation, `sum` = sum of dL/dV.
  void set_gradients(const std::array<float, kGridInputs>& inputs, float sum) const;
};

}  // namespace assay::routing
