#include "assay/model/sampler.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace assay {
namespace {

using v8 = float __attribute__((vector_size(32), aligned(4)));
using i8 = std::int32_t __attribute__((vector_size(32), aligned(4)));

/// exp for x <= 0 (after subtracting the maximum), relative error below 2e-7 (Cephes' polynomial on [-ln2/2, ln2/2]); 0 below -87.
v8 exp8(v8 x) {
  const v8 floor_at = v8{} - 87.0F;
  const i8 tiny = x < floor_at;
  x = tiny ? floor_at : x;
  const v8 t = x * 1.44269504F;
  const i8 k = __builtin_convertvector(t - 0.5F, i8);  // truncation towards 0 rounds to nearest for negative t
  const v8 kf = __builtin_convertvector(k, v8);
  const v8 r = (x - kf * 0.693359375F) + kf * 2.12194440e-4F;
  v8 p = v8{} + 1.9875691500e-4F;
  p = p * r + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const i8 bits = (k + 127) << 23;
  const v8 out = p * (v8)bits;
  return tiny ? v8{} : out;
}

/// weights[i] = exp((logits[i] - top) / temperature); returns their sum.
double exponentials(std::span<const float> logits, float top, float inverse_temperature, float* weights) {
  const std::size_t n = logits.size();
  double total = 0;
  std::size_t i = 0;
  v8 sum{};
  for (; i + 8 <= n; i += 8) {
    const v8 e = exp8((*reinterpret_cast<const v8*>(logits.data() + i) - top) * inverse_temperature);
    *reinterpret_cast<v8*>(weights + i) = e;
    sum += e;
    if ((i & 4095) == 4088 || i + 16 > n) {  // blocks, so that f32 sums stay short
      for (int lane = 0; lane < 8; ++lane) total += sum[lane];
      sum = v8{};
    }
  }
  for (; i < n; ++i) total += weights[i] = std::exp((logits[i] - top) * inverse_temperature);
  return total;
}

}  // namespace

Draw Sampler::draw(std::span<const float> logits, Rng& rng) {
  assert(!logits.empty());
  const auto n = logits.size();
  weights_.resize(n);
  const auto best = static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  const float top = logits[best];
  const double total_at_1 = exponentials(logits, top, 1.0F, weights_.data());
  const auto result = [&](std::size_t id) { return Draw{static_cast<std::int32_t>(id), static_cast<float>(static_cast<double>(logits[id] - top) - std::log(total_at_1))}; };
  if (options_.temperature <= 0) return result(best);
  double total = options_.temperature == 1.0 ? total_at_1 : exponentials(logits, top, static_cast<float>(1.0 / options_.temperature), weights_.data());

  const bool filtered = (options_.top_k > 0 && static_cast<std::size_t>(options_.top_k) < n) || options_.top_p < 1.0 || options_.min_p > 0.0;
  if (!filtered) {
    double left = rng.uniform() * total;
    for (std::size_t i = 0; i < n; ++i) {
      left -= weights_[i];
      if (left < 0) return result(i);
    }
    return result(best);  // rounding alone leads here
  }
  // Candidates in falling order of weight, as few as the filters leave.
  order_.clear();
  const float least = static_cast<float>(options_.min_p);  // the largest weight is 1
  for (std::size_t i = 0; i < n; ++i)
    if (weights_[i] >= least && weights_[i] > 0) order_.push_back(static_cast<std::int32_t>(i));
  const auto heavier = [&](std::int32_t a, std::int32_t b) {
    const float wa = weights_[static_cast<std::size_t>(a)], wb = weights_[static_cast<std::size_t>(b)];
    return wa != wb ? wa > wb : a < b;
  };
  if (options_.top_k > 0 && static_cast<std::size_t>(options_.top_k) < order_.size()) {
    std::nth_element(order_.begin(), order_.begin() + options_.top_k, order_.end(), heavier);
    order_.resize(static_cast<std::size_t>(options_.top_k));
  }
  if (options_.top_p < 1.0) {
    double kept_total = 0;
    for (const std::int32_t i : order_) kept_total += weights_[static_cast<std::size_t>(i)];
    if (options_.top_k <= 0) kept_total = total;
    std::sort(order_.begin(), order_.end(), heavier);
    double seen = 0;
    std::size_t keep = 0;
    while (keep < order_.size() && (keep == 0 || seen < options_.top_p * kept_total)) seen += weights_[static_cast<std::size_t>(order_[keep++])];
    order_.resize(keep);
  } else {
    std::sort(order_.begin(), order_.end());
  }
  total = 0;
  for (const std::int32_t i : order_) total += weights_[static_cast<std::size_t>(i)];
  double left = rng.uniform() * total;
  for (const std::int32_t i : order_) {
    left -= weights_[static_cast<std::size_t>(i)];
    if (left < 0) return result(static_cast<std::size_t>(i));
  }
  return result(best);
}

}  // namespace assay
