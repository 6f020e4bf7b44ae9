#include "assay/routing/experiments/dense_kernels.h"

#include <hwy/highway.h>

namespace assay::routing::dense {
namespace hn = hwy::HWY_NAMESPACE;
namespace {

using F32 = hn::ScalableTag<float>;
const auto kWidth = static_cast<std::int64_t>(hn::Lanes(F32()));

template <class T>
void zero_where_zero(const T* given, std::int64_t n, float* dx) {
  const F32 d;
  const hn::RebindToUnsigned<F32> bits;
  const hn::Rebind<T, F32> narrow;
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const auto read = hn::LoadU(narrow, given + i);
    hn::Vec<decltype(bits)> word;
    if constexpr (sizeof(T) == 4)
      word = read;
    else
      word = hn::PromoteTo(bits, read);
    hn::StoreU(hn::IfThenElseZero(hn::RebindMask(d, hn::Ne(word, hn::Zero(bits))), hn::LoadU(d, dx + i)), d, dx + i);
  }
  for (; i < n; ++i) dx[i] = given[i] != 0 ? dx[i] : 0.0F;
}

}  // namespace

void relu(float* x, std::int64_t n) {
  const F32 d;
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const auto v = hn::LoadU(d, x + i);
    hn::StoreU(hn::IfThenElseZero(hn::Gt(v, hn::Zero(d)), v), d, x + i);
  }
  for (; i < n; ++i) x[i] = x[i] > 0 ? x[i] : 0.0F;
}

void relu_backward(const std::uint32_t* given, std::int64_t n, float* dx) { zero_where_zero(given, n, dx); }
void relu_backward(const std::uint16_t* given, std::int64_t n, float* dx) { zero_where_zero(given, n, dx); }

double absolute_error(float* y, const float* target, std::int64_t n, float scale) {
  const F32 d;
  auto sums = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const auto error = hn::Sub(hn::LoadU(d, y + i), hn::LoadU(d, target + i));
    sums = hn::Add(sums, hn::Abs(error));
    hn::StoreU(hn::IfThenZeroElse(hn::Eq(error, hn::Zero(d)), hn::CopySign(hn::Set(d, scale), error)), d, y + i);
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (; i < n; ++i) {
    const float error = y[i] - target[i];
    sum += error < 0 ? -error : error;
    y[i] = error > 0 ? scale : error < 0 ? -scale : 0.0F;
  }
  return sum;
}

double squared_error(float* y, const float* target, std::int64_t n, float scale) {
  const F32 d;
  auto sums = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const auto error = hn::Sub(hn::LoadU(d, y + i), hn::LoadU(d, target + i));
    sums = hn::MulAdd(error, error, sums);
    hn::StoreU(hn::Mul(hn::Set(d, 2 * scale), error), d, y + i);
  }
  double sum = hn::GetLane(hn::SumOfLanes(d, sums));
  for (; i < n; ++i) {
    const float error = y[i] - target[i];
    sum += static_cast<double>(error) * error;
    y[i] = 2 * scale * error;
  }
  return sum;
}

}  // namespace assay::routing::dense
