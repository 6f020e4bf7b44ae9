#include "assay/model/kv_cache.h"

#include <cassert>

#include "assay/model/kernels/kernels.h"

namespace assay {

std::int32_t KvCache::take() {
  if (unused_.empty()) {
    unused_.push_back(static_cast<std::int32_t>(users_.size()));
    users_.push_back(0);
  }
  const std::int32_t page = unused_.back();
  unused_.pop_back();
  users_[static_cast<std::size_t>(page)] = 1;
  return page;
}

void KvCache::release(std::int32_t page) {
  if (--users_[static_cast<std::size_t>(page)] == 0) unused_.push_back(page);
}

std::int32_t KvCache::open() {
  if (closed_.empty()) {
    sequences_.emplace_back();
    return static_cast<std::int32_t>(sequences_.size()) - 1;
  }
  const std::int32_t sequence = closed_.back();
  closed_.pop_back();
  return sequence;
}

std::int32_t KvCache::fork(std::int32_t parent, std::int64_t n) {
  const std::int32_t sequence = open();
  const auto& from = sequences_[static_cast<std::size_t>(parent)];
  auto& to = sequences_[static_cast<std::size_t>(sequence)];
  const auto pages = (n + kernels::kPageKeys - 1) / kernels::kPageKeys;
  assert(pages <= static_cast<std::int64_t>(from.size()));
  to.assign(from.begin(), from.begin() + pages);
  for (const std::int32_t page : to) ++users_[static_cast<std::size_t>(page)];
  return sequence;
}

void KvCache::close(std::int32_t sequence) {
  auto& held = sequences_[static_cast<std::size_t>(sequence)];
  for (const std::int32_t page : held) release(page);
  held.clear();
  closed_.push_back(sequence);
}

void KvCache::prepare(std::int32_t sequence, std::int64_t begin, std::int64_t end) {
  auto& held = sequences_[static_cast<std::size_t>(sequence)];
  for (auto p = static_cast<std::size_t>(begin / kernels::kPageKeys);
       p < static_cast<std::size_t>((end + kernels::kPageKeys - 1) / kernels::kPageKeys); ++p) {
    assert(p <= held.size());
    if (p == held.size()) {
      held.push_back(take());
      // Values behind the last position are multiplied by 0: another sequence's infinities must not be left there.
      store_->clear(held.back());
    } else if (users_[static_cast<std::size_t>(held[p])] > 1) {
      const std::int32_t own = take();
      store_->copy(held[p], own);
      release(held[p]);
      held[p] = own;
    }
  }
}

}  // namespace assay
