#include "assay/model/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>

#include "assay/model/kernels/kernels.h"

namespace assay {
namespace {

constexpr std::size_t kBlock = 512;  // tokens whose weights are summed in f32; the sums are added in f64

/// Classes of weights in [0, 1]: eight an octave, heavier ones first.
constexpr std::size_t kClasses = 127 * 8 + 1;
std::size_t weight_class(float weight) {
  return kClasses - 1 - std::min<std::size_t>(kClasses - 1, std::bit_cast<std::uint32_t>(weight) >> 20);
}

}  // namespace

Draw Sampler::draw(std::span<const float> logits, Rng rng) {
  assert(!logits.empty());
  const auto& k = kernels::kernels();
  const auto n = logits.size();
  const float top = k.row_max(logits.data(), static_cast<std::int64_t>(n));
  const auto exponentials = [&](std::size_t begin, float scale, float* out) {
    return static_cast<double>(k.exp_row(logits.data() + begin, static_cast<std::int64_t>(std::min(kBlock, n - begin)), top, scale, out));
  };
  // 1 / temperature beyond f32: no other token has a weight that could be drawn.
  const bool greedy = !(options_.temperature > 0) || !std::isfinite(static_cast<float>(1.0 / options_.temperature)),
             plain = options_.temperature == 1.0;
  const bool filtered =
      (options_.top_k > 0 && static_cast<std::size_t>(options_.top_k) < n) || options_.top_p < 1.0 || options_.min_p > 0.0;
  if (!greedy) weights_.resize(n);
  const auto sum_over_blocks = [&](float scale, bool keep) {
    double total = 0;
    blocks_.clear();
    for (std::size_t begin = 0; begin < n; begin += kBlock) {
      blocks_.push_back(exponentials(begin, scale, keep ? weights_.data() + begin : nullptr));
      total += blocks_.back();
    }
    return total;
  };
  const double total_at_1 = sum_over_blocks(1.0F, !greedy && plain);
  const auto result = [&](std::size_t id) {
    return Draw{static_cast<std::int32_t>(id), static_cast<float>(static_cast<double>(logits[id] - top) - std::log(total_at_1))};
  };
  const auto best = [&] { return static_cast<std::size_t>(std::find(logits.begin(), logits.end(), top) - logits.begin()); };
  // Where every logit is nan or -inf there is nothing to choose from.
  if (!std::isfinite(top) || !(total_at_1 > 0)) return {0, std::nanf("")};
  if (greedy) return result(best());
  const double total = plain ? total_at_1 : sum_over_blocks(static_cast<float>(1.0 / options_.temperature), true);

  if (!filtered) {
    double left = rng.uniform() * total;
    std::size_t block = 0;
    while (block + 1 < blocks_.size() && left >= blocks_[block]) left -= blocks_[block++];
    for (std::size_t i = block * kBlock; i < std::min(n, (block + 1) * kBlock); ++i) {
      left -= weights_[i];
      if (left < 0) return result(i);
    }
    return result(best());  // rounding alone leads here
  }
  filter(total);
  double kept_total = 0;
  for (const std::int32_t i : kept_) kept_total += weights_[static_cast<std::size_t>(i)];
  double left = rng.uniform() * kept_total;
  for (const std::int32_t i : kept_) {
    left -= weights_[static_cast<std::size_t>(i)];
    if (left < 0) return result(static_cast<std::size_t>(i));
  }
  return result(static_cast<std::size_t>(kept_.front()));
}

/// kept_ = what the filters leave, in falling order of weight. Only the classes of weights that can hold it are sorted.
void Sampler::filter(double total) {
  const auto n = weights_.size();
  std::array<std::uint32_t, kClasses> counts{};
  std::array<double, kClasses> masses{};
  for (std::size_t i = 0; i < n; ++i) {
    const auto c = weight_class(weights_[i]);
    ++counts[c];
    masses[c] += weights_[i];
  }
  const auto k = options_.top_k > 0 ? std::min(n, static_cast<std::size_t>(options_.top_k)) : n;
  // Without top-k, top-p needs no more than the classes that hold its mass; with it, the k heaviest are needed whole.
  const double needed = k == n && options_.top_p < 1.0 ? options_.top_p * total : HUGE_VAL;
  std::size_t classes = 0, count = 0;
  for (double mass = 0; classes < kClasses && count < k && mass <= needed; ++classes) {
    count += counts[classes];
    mass += masses[classes];
  }
  kept_.clear();
  const auto least = static_cast<float>(options_.min_p);  // the heaviest weight is 1
  const bool only_min_p = k == n && options_.top_p >= 1.0;
  for (std::size_t i = 0; i < n; ++i) {
    if (only_min_p ? weights_[i] >= least : weight_class(weights_[i]) < classes) kept_.push_back(static_cast<std::int32_t>(i));
  }
  const auto heavier = [&](std::int32_t a, std::int32_t b) {
    const float wa = weights_[static_cast<std::size_t>(a)], wb = weights_[static_cast<std::size_t>(b)];
    return wa != wb ? wa > wb : a < b;
  };
  if (k < kept_.size()) {
    std::nth_element(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(k), kept_.end(), heavier);
    kept_.resize(k);
  }
  std::sort(kept_.begin(), kept_.end(), heavier);
  if (options_.top_p < 1.0) {
    double of = total;
    if (k < n) {
      of = 0;
      for (const std::int32_t i : kept_) of += weights_[static_cast<std::size_t>(i)];
    }
    double seen = 0;
    std::size_t keep = 0;
    while (keep < kept_.size() && (keep == 0 || seen < options_.top_p * of)) seen += weights_[static_cast<std::size_t>(kept_[keep++])];
    kept_.resize(keep);
  }
  while (kept_.size() > 1 && weights_[static_cast<std::size_t>(kept_.back())] < least) kept_.pop_back();
}

}  // namespace assay
