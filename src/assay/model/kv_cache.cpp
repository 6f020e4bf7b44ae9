#include "assay/model/kv_cache.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "assay/model/fused/operands.h"

namespace assay {

/// The kernel reads values by four panels of 16 columns, past a narrower head, and throws away what is too much.
constexpr std::int64_t kReadBeyond = 3 * kernels::kPageKeys * 16;

struct KvCache::Page {
  fused::Words words;
  int users = 0;
};

KvCache::KvCache(const ModelConfig& config, Precision precision)
    : precision_(precision), n_kv_heads_(config.n_kv_heads), head_words_(fused::format(precision).decode.page_head_words(config.d_head)) {
  page_words_ = config.n_layers * n_kv_heads_ * head_words_;
}

KvCache::~KvCache() = default;
KvCache::KvCache(KvCache&&) noexcept = default;

KvCache::Page* KvCache::take() {
  if (unused_.empty()) {
    all_.push_back(std::make_unique<Page>(Page{fused::Words(page_words_ + kReadBeyond), 0}));
    unused_.push_back(all_.back().get());
  }
  Page* page = unused_.back();
  unused_.pop_back();
  page->users = 1;
  return page;
}

void KvCache::release(Page* page) {
  if (--page->users == 0) unused_.push_back(page);
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
  const Sequence& from = sequences_[static_cast<std::size_t>(parent)];
  Sequence& to = sequences_[static_cast<std::size_t>(sequence)];
  const auto pages = (n + kernels::kPageKeys - 1) / kernels::kPageKeys;
  assert(pages <= static_cast<std::int64_t>(from.held.size()));
  to.held.assign(from.held.begin(), from.held.begin() + pages);
  to.words.assign(from.words.begin(), from.words.begin() + pages);
  for (Page* page : to.held) ++page->users;
  return sequence;
}

void KvCache::close(std::int32_t sequence) {
  Sequence& s = sequences_[static_cast<std::size_t>(sequence)];
  for (Page* page : s.held) release(page);
  s.held.clear();
  s.words.clear();
  closed_.push_back(sequence);
}

void KvCache::prepare(std::int32_t sequence, std::int64_t begin, std::int64_t end) {
  Sequence& s = sequences_[static_cast<std::size_t>(sequence)];
  const auto bytes = static_cast<std::size_t>(page_words_) * sizeof(std::uint32_t);
  for (auto p = static_cast<std::size_t>(begin / kernels::kPageKeys);
       p < static_cast<std::size_t>((end + kernels::kPageKeys - 1) / kernels::kPageKeys); ++p) {
    assert(p <= s.held.size());
    if (p == s.held.size()) {
      s.held.push_back(take());
      s.words.push_back(s.held.back()->words.data());
      // Values behind the last position are multiplied by 0: another sequence's infinities must not be left there.
      std::memset(s.words.back(), 0, bytes);
    } else if (s.held[p]->users > 1) {
      Page* own = take();
      std::memcpy(own->words.data(), s.words[p], bytes);
      release(s.held[p]);
      s.held[p] = own;
      s.words[p] = own->words.data();
    }
  }
}

std::span<std::uint32_t* const> KvCache::pages(std::int32_t sequence) const { return sequences_[static_cast<std::size_t>(sequence)].words; }

std::int64_t KvCache::used_pages() const { return static_cast<std::int64_t>(all_.size() - unused_.size()); }

}  // namespace assay
