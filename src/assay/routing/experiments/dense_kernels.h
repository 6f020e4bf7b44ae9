#pragma once
#include <cstdint>

/// The elementwise work of dense nets on the CPU.
namespace assay::routing::dense {

/// x = max(x, 0), +0 where it is not positive.
void relu(float* x, std::int64_t n);
/// dx = 0 where ReLU gave 0. `given`: its results as bits of f32 or bf16, of which +0 alone is all zeros.
void relu_backward(const std::uint32_t* given, std::int64_t n, float* dx);
void relu_backward(const std::uint16_t* given, std::int64_t n, float* dx);

/// Sum of |y - target|; y becomes its gradient times `scale` (the sign; 0 where both are equal).
double absolute_error(float* y, const float* target, std::int64_t n, float scale);
/// Sum of (y - target)²; y becomes its gradient times `scale`.
double squared_error(float* y, const float* target, std::int64_t n, float scale);

}  // namespace assay::routing::dense
