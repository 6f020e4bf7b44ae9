#include "assay/train/adamw_kernel.h"

#include <hwy/highway.h>

#include <algorithm>

namespace assay::kernels {
namespace hn = hwy::HWY_NAMESPACE;
namespace {

using Lanes = hn::ScalableTag<float>;

/// g += l2 w;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g²;  w = keep w - step_size m / (sqrt(v) / sqrt(1-b2^t) + eps)
HWY_INLINE void update_lanes(float* w, float* m, float* v, const float* g, const AdamWStep& s) {
  const Lanes d;
  const auto grad = hn::MulAdd(hn::LoadU(d, w), hn::Set(d, s.l2), hn::Mul(hn::LoadU(d, g), hn::Set(d, s.gradient_scale)));
  const auto mean = hn::MulAdd(hn::Sub(grad, hn::LoadU(d, m)), hn::Set(d, 1.0f - s.beta1), hn::LoadU(d, m));
  const auto square = hn::MulAdd(hn::Mul(grad, grad), hn::Set(d, 1.0f - s.beta2), hn::Mul(hn::LoadU(d, v), hn::Set(d, s.beta2)));
  const auto denominator = hn::MulAdd(hn::Sqrt(square), hn::Set(d, s.rsqrt_bias2), hn::Set(d, s.eps));
  const auto kept = hn::Mul(hn::LoadU(d, w), hn::Set(d, s.keep));
  hn::StoreU(mean, d, m);
  hn::StoreU(square, d, v);
  hn::StoreU(hn::NegMulAdd(hn::Div(mean, denominator), hn::Set(d, s.step_size), kept), d, w);
}

}  // namespace

void adamw_update(float* w, float* m, float* v, const float* g, std::int64_t n, const AdamWStep& s) {
  const Lanes d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + width <= n; i += width) update_lanes(w + i, m + i, v + i, g + i, s);
  if (i == n) return;
  // The rest goes through the same lanes by way of buffers, so that its bits are those of the main loop.
  HWY_ALIGN float buffer[4][hn::MaxLanes(Lanes())] = {};
  const std::int64_t rest = n - i;
  std::copy_n(w + i, rest, buffer[0]);
  std::copy_n(m + i, rest, buffer[1]);
  std::copy_n(v + i, rest, buffer[2]);
  std::copy_n(g + i, rest, buffer[3]);
  update_lanes(buffer[0], buffer[1], buffer[2], buffer[3], s);
  std::copy_n(buffer[0], rest, w + i);
  std::copy_n(buffer[1], rest, m + i);
  std::copy_n(buffer[2], rest, v + i);
}

double sum_of_squares(const float* g, std::int64_t n) {
  const Lanes d;
  const auto width = static_cast<std::int64_t>(hn::Lanes(d));
  auto a = hn::Zero(d), b = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + 2 * width <= n; i += 2 * width) {
    const auto x = hn::LoadU(d, g + i), y = hn::LoadU(d, g + i + width);
    a = hn::MulAdd(x, x, a);
    b = hn::MulAdd(y, y, b);
  }
  double sum = static_cast<double>(hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b))));
  for (; i < n; ++i) sum += static_cast<double>(g[i]) * static_cast<double>(g[i]);
  return sum;
}

}  // namespace assay::kernels
