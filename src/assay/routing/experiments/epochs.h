#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "assay/base/rng.h"

namespace assay::routing {

/// Epochs over n items in an order that each draws anew; the last batch of an epoch may be smaller.
class Epochs {
 public:
  Epochs(std::int64_t n, std::int64_t batch, std::uint64_t seed) : batch_(batch), seed_(seed), order_(static_cast<std::size_t>(n)) {}
  [[nodiscard]] std::int64_t steps() const { return (static_cast<std::int64_t>(order_.size()) + batch_ - 1) / batch_; }
  std::span<const std::int64_t> batch_at(std::int64_t step) {
    if (const std::int64_t epoch = step / steps(); epoch != epoch_) {
      epoch_ = epoch;
      std::iota(order_.begin(), order_.end(), 0);
      Rng(seed_).fork("epochs").fork(static_cast<std::uint64_t>(epoch)).shuffle(std::span(order_));
    }
    const auto begin = static_cast<std::size_t>(step % steps() * batch_);
    return std::span(order_).subspan(begin, std::min(static_cast<std::size_t>(batch_), order_.size() - begin));
  }

 private:
  std::int64_t batch_;
  std::uint64_t seed_;
  std::vector<std::int64_t> order_;
  std::int64_t epoch_ = -1;
};

}  // namespace assay::routing
