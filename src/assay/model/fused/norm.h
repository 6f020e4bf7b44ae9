#pragma once
#include <cstdint>

#include "assay/model/config.h"
#include "assay/model/kernels/kernels.h"
#include "assay/tensor/tensor.h"

namespace assay::fused {

/// rms or layer norm of rows f32 [rows][d].
struct RowNorm {
  RowNorm(Norm kind, const Tensor& w, const Tensor& b, double eps);  // detached, contiguous; b may be undefined

  /// To rows in the format of `f`.
  void forward(const kernels::FormatKernels& f, const float* x, std::int64_t rows, void* out) const;
  /// dx is written, dw and db (null where there is no b) are added to.
  void backward(const float* x, const float* dy, std::int64_t rows, float* dx, float* dw, float* db) const;

  Norm kind;
  Tensor w, b;  // [d]
  float eps;
};

}  // namespace assay::fused
