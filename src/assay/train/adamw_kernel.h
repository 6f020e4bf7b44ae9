#pragma once
#include <cstdint>

namespace assay::kernels {

/// What is the same for all elements of one cell in one step.
struct AdamWStep {
  float gradient_scale, beta1, beta2, eps;
  float l2;           ///< decay that is part of the gradient
  float keep;         ///< 1 - lr * weight_decay
  float step_size;    ///< lr / (1 - beta1^t)
  float rsqrt_bias2;  ///< 1 / sqrt(1 - beta2^t)
};

/// One pass over n elements: w, m, v in place. The bits of an element do not depend on where in the range it stands.
void adamw_update(float* w, float* m, float* v, const float* g, std::int64_t n, const AdamWStep& s);

/// Sum of squares of n elements (f32 lanes; n up to some ten thousand).
double sum_of_squares(const float* g, std::int64_t n);

}  // namespace assay::kernels
