#pragma once
#include "assay/model/fused/norm.h"
#include "assay/model/fused/operands.h"
#include "assay/model/gradient_masks.h"

/// Rows of activations or gradients times their tokens' factors, while they lie in the cache.
namespace assay::fused {

/// Rows of tokens begin.. in format f, at distance ld elements, in place.
void mask_rows(const kernels::FormatKernels& f, const RowScale& scale, std::int64_t begin, std::int64_t rows, void* x, std::int64_t ld);

/// `row` itself where the scale is empty or the token's factors are 1, else their product, written to `scratch`.
const float* masked_row(const RowScale& scale, std::int64_t token, const float* row, float* scratch);

/// body(first row, rows, gradient) over runs of rows of a gradient [rows][d] (tokens begin..), times the factors of both scales. A run is
/// as long as nothing is masked; masked rows come one by one, out of a scratch row that stays in the first-level cache.
using RowsBody = std::function<void(std::int64_t first, std::int64_t rows, const float* gradient)>;
void each_masked_run(const RowScale& a, const RowScale& b, std::int64_t begin, std::int64_t rows, const float* gradient, std::int64_t d,
                     const RowsBody& body);

/// panels.put() of the masked rows; `x` in the operand format at distance ld elements stays as it is.
void put_masked(TokenPanels& panels, const kernels::FormatKernels& f, const RowScale& scale, std::int64_t begin, std::int64_t rows,
                const std::uint32_t* x, std::int64_t ld);

/// sums += the masked rows [rows][d].
void masked_column_sums(const RowScale& scale, std::int64_t begin, std::int64_t rows, const float* x, std::int64_t d, float* sums);

/// norm.backward() of the rows of tokens begin.., where tokens count in dw and db by their factors.
void masked_norm_backward(const RowNorm& norm, const RowScale& scale, std::int64_t begin, const float* x, const float* dy,
                          std::int64_t rows, float* dx, float* dw, float* db);

}  // namespace assay::fused
