#pragma once
#include "assay/model/fused/node.h"
#include "assay/model/fused/norm.h"
#include "assay/model/fused/operands.h"
#include "assay/model/gradient_masks.h"

namespace assay::fused {

/// A norm followed by products with a stack of matrices: how both halves of a block begin.
struct NormedProducts {
  const kernels::FormatKernels& f;
  Tensor x;  // [n, d]
  RowNorm norm;
  Stack W;
  Tensor bias;                                  // [W.out()], or undefined
  RowScale products_mask = {}, norm_mask = {};  // of tokens in the gradients of W and bias (units: W.out()), and of w

  /// norm(x) of a tile in the operand format, and its products with the whole stack: [rows][W.out()].
  void forward(std::int64_t begin, std::int64_t rows, const Words& operand, float* products) const;

  /// Gradients from those of the products. `rows_of` brings a tile of them in the operand format, [rows][words(W.out())]; it is called once
  /// for each tile. Order of the result: x, the norm's w and b, then each matrix, then the bias (if there is one; rows_of must then add f32
  /// sums to `bias_sums`).
  using RowsOf = std::function<void(std::int64_t begin, std::int64_t rows, void* to, float* bias_sums)>;
  Gradients backward(const RowsOf& rows_of) const;
};

}  // namespace assay::fused
