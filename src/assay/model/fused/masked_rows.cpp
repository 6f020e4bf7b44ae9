#include "assay/model/fused/masked_rows.h"

#include <algorithm>
#include <cstring>

namespace assay::fused {
namespace {

/// Where a token's factors come from: one row of the table, or two that are mixed, and the columns that they change.
struct Factors {
  const float *own = nullptr, *other = nullptr;  // other: null = not mixed
  float weight = 1.0F;
  std::int64_t begin = 0, end = 0;
};

Factors factors_of(const RowScale& scale, std::int64_t token) {
  const auto t = static_cast<std::size_t>(token);
  const TokenRows& rows = *scale.rows;
  const auto [begin, end] = scale.table->changed(rows.row[t]);
  Factors result{scale.table->row(rows.row[t]), nullptr, 1.0F, begin, end};
  if (rows.other.empty() || rows.weight[t] == 1.0F) return result;
  const auto [other_begin, other_end] = scale.table->changed(rows.other[t]);
  result.other = scale.table->row(rows.other[t]);
  result.weight = rows.weight[t];
  if (begin == end) {
    result.begin = other_begin, result.end = other_end;
  } else if (other_begin < other_end) {
    result.begin = std::min(begin, other_begin), result.end = std::max(end, other_end);
  }
  return result;
}

void multiply(const kernels::FormatKernels& f, const Factors& by, const void* x, void* out) {
  const auto first = by.begin * f.element_bytes();
  f.mask_row(static_cast<const char*>(x) + first, by.own + by.begin, by.other ? by.other + by.begin : nullptr, by.weight, by.end - by.begin,
             static_cast<char*>(out) + first);
}

}  // namespace

void mask_rows(const kernels::FormatKernels& f, const RowScale& scale, std::int64_t begin, std::int64_t rows, void* x, std::int64_t ld) {
  for (std::int64_t r = 0; r < rows; ++r) {
    void* row = static_cast<char*>(x) + r * ld * f.element_bytes();
    multiply(f, factors_of(scale, begin + r), row, row);
  }
}

const float* masked_row(const RowScale& scale, std::int64_t token, const float* row, float* scratch) {
  if (!scale) return row;
  Factors by = factors_of(scale, token);
  if (by.begin == by.end) return row;
  by.begin = 0, by.end = scale.table->units();
  multiply(kernels::kernels().f32, by, row, scratch);
  return scratch;
}

void each_masked_run(const RowScale& a, const RowScale& b, std::int64_t begin, std::int64_t rows, const float* gradient, std::int64_t d,
                     const RowsBody& body) {
  if (!a && !b) return body(0, rows, gradient);
  const Words scratch(d);
  std::int64_t first = 0;  // of the rows that wait to be handed on as they are
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* row = gradient + r * d;
    const float* masked = masked_row(b, begin + r, masked_row(a, begin + r, row, scratch.floats()), scratch.floats());
    if (masked == row) continue;
    if (first < r) body(first, r - first, gradient + first * d);
    body(r, 1, masked);
    first = r + 1;
  }
  if (first < rows) body(first, rows - first, gradient + first * d);
}

void put_masked(TokenPanels& panels, const kernels::FormatKernels& f, const RowScale& scale, std::int64_t begin, std::int64_t rows,
                const std::uint32_t* x, std::int64_t ld) {
  if (!scale) return panels.put(begin, rows, x, ld);
  constexpr std::int64_t kPart = 32;  // rows that are copied at a time; even, as a word holds two tokens
  const auto bytes = ld * f.element_bytes();
  const Words part((kPart * bytes + 3) / 4);
  for (std::int64_t r = 0; r < rows; r += kPart) {
    const auto n = std::min(kPart, rows - r);
    std::memcpy(part.data(), reinterpret_cast<const char*>(x) + r * bytes, static_cast<std::size_t>(n * bytes));
    mask_rows(f, scale, begin + r, n, part.data(), ld);
    panels.put(begin + r, n, part.data(), ld);
  }
}

void masked_column_sums(const RowScale& scale, std::int64_t begin, std::int64_t rows, const float* x, std::int64_t d, float* sums) {
  const auto& f = kernels::kernels().f32;
  if (!scale) return f.column_sums(x, d, rows, d, sums);
  const Words scratch(d);
  for (std::int64_t r = 0; r < rows; ++r) f.column_sums(masked_row(scale, begin + r, x + r * d, scratch.floats()), d, 1, d, sums);
}

void masked_norm_backward(const RowNorm& norm, const RowScale& scale, std::int64_t begin, const float* x, const float* dy,
                          std::int64_t rows, float* dx, float* dw, float* db) {
  if (!scale) return norm.backward(x, dy, rows, dx, dw, db);
  const auto d = norm.w.size(0);
  const auto& f = kernels::kernels().f32;
  const Words own(2 * d);  // a token's part in dw and db
  float *own_w = own.floats(), *own_b = own.floats() + d;
  for (std::int64_t r = 0; r < rows; ++r) {
    const bool changes = scale.changes(begin + r);
    if (changes) std::fill_n(own_w, 2 * d, 0.0F);
    norm.backward(x + r * d, dy + r * d, 1, dx + r * d, changes ? own_w : dw, !db ? nullptr : changes ? own_b : db);
    if (!changes) continue;
    mask_rows(f, scale, begin + r, 1, own_w, d);
    f.column_sums(own_w, d, 1, d, dw);
    if (!db) continue;
    mask_rows(f, scale, begin + r, 1, own_b, d);
    f.column_sums(own_b, d, 1, d, db);
  }
}

}  // namespace assay::fused
