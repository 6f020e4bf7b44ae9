#include "assay/train/objectives/mixture_sampler.h"

#include <cassert>
#include <numeric>

namespace assay {

MixtureSampler::MixtureSampler(std::vector<std::vector<std::int64_t>> lengths, std::vector<double> shares, std::int64_t batch_tokens,
                               std::uint64_t seed)
    : lengths_(std::move(lengths)), shares_(std::move(shares)), batch_tokens_(batch_tokens), rng_(Rng(seed).fork("mixture")) {
  assert(!lengths_.empty() && lengths_.size() == shares_.size());
  restart();
}

void MixtureSampler::restart() {
  cursors_.assign(lengths_.size(), {});
  waiting_.reset();
  next_batch_ = 0;
}

MixtureSampler::Pick MixtureSampler::draw() {
  std::size_t part = 0;
  for (std::size_t p = 1; p < cursors_.size(); ++p) {
    if (cursors_[p].tokens / shares_[p] < cursors_[part].tokens / shares_[part]) part = p;
  }
  Cursor& cursor = cursors_[part];
  if (cursor.next == cursor.order.size()) {
    cursor.order.resize(lengths_[part].size());
    std::iota(cursor.order.begin(), cursor.order.end(), std::size_t{0});
    Rng epoch = rng_.fork(part).fork(static_cast<std::uint64_t>(++cursor.epoch));
    epoch.shuffle(std::span(cursor.order));
    cursor.next = 0;
  }
  const std::size_t example = cursor.order[cursor.next++];
  cursor.tokens += static_cast<double>(lengths_[part][example]);
  return {part, example};
}

std::vector<MixtureSampler::Pick> MixtureSampler::pack() {
  std::vector<Pick> picks;
  std::int64_t tokens = 0;
  while (true) {
    const Pick pick = waiting_ ? *waiting_ : draw();
    waiting_.reset();
    const std::int64_t length = lengths_[pick.part][pick.example];
    if (tokens + length > batch_tokens_) {
      waiting_ = pick;
      return picks;
    }
    picks.push_back(pick);
    tokens += length;
  }
}

std::vector<MixtureSampler::Pick> MixtureSampler::batch(std::int64_t k) {
  if (k < next_batch_) restart();
  while (next_batch_ < k) {
    pack();
    ++next_batch_;
  }
  ++next_batch_;
  return pack();
}

}  // namespace assay
