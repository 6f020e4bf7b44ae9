#pragma once
#include <cstdint>

#include "assay/routing/experiments/grid_world.h"

/// What is not a matrix product in the gridworld's nets, a row (one observation) of 256 units at a time.
namespace assay::routing::grid {

/// z = relu(bias + the rows of `table` [100, 256] whose input is 1).
void first_layer(const float* table, const float* bias, const GridActive& active, float* z);
/// The gradient of `table` from dz [256], which is cut where the layer gave 0. `given`: the layer's results as f32 or bf16 bits.
void first_layer_gradient(const std::uint32_t* given, const float* dz, const GridActive& active, float* table);
void first_layer_gradient(const std::uint16_t* given, const float* dz, const GridActive& active, float* table);

/// y = relu(y + bias) for each of the rows.
void add_bias_relu(float* y, const float* bias, std::int64_t rows);

/// y += scale * x.
void add_scaled(float* y, const float* x, float scale, std::int64_t n);
float dot(const float* a, const float* b);
/// dz = scale * w where a > 0, else 0; dw += scale * a.
void gate_out_gradient(const float* a, const float* w, float scale, float* dz, float* dw);

/// logits[4] = W (g d + (1 - g) e) + b; e null = d alone.
void head(const float* d, const float* e, float g, const float* W, const float* b, float* logits);

/// Gradients of the logits of one observation, by what they may teach besides the head.
struct HeadGradient {
  const float *open, *diamond, *ghost;  ///< both experts and the gate; the Diamond expert; the Ghost expert
  bool routed;                          ///< diamond or ghost is not 0
};
/// dW [4, 256] += ..., dd and de (null with e) = gradients before the experts' last ReLU. Returns dL/dg.
float head_gradient(const float* d, const float* e, float g, const float* W, const HeadGradient& gradient, float* dW, float* dd, float* de);

}  // namespace assay::routing::grid
