#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace assay {

/// The memory behind the pages of a cache, all layers and kv heads of their positions. A decoder makes one in the layout that it reads.
class PageStore {
 public:
  virtual ~PageStore() = default;
  /// From now on the page exists and holds zeros.
  virtual void clear(std::int32_t page) = 0;
  virtual void copy(std::int32_t from, std::int32_t to) = 0;
};

/// Keys and values of sequences in flight, in pages of kernels::kPageKeys positions that sequences share: a common prefix is computed and
/// stored once. A shared page is copied when a sequence writes into it. Decoder::new_cache() makes one.
class KvCache {
 public:
  explicit KvCache(std::unique_ptr<PageStore> store) : store_(std::move(store)) {}

  /// A new, empty sequence; its number.
  std::int32_t open();
  /// A new sequence that begins with the first n positions of `parent` (which must have been written).
  std::int32_t fork(std::int32_t parent, std::int64_t n);
  /// Gives its pages back.
  void close(std::int32_t sequence);

  /// For the decoder: makes positions [begin, end) of a sequence writable. Positions below `begin` must exist.
  void prepare(std::int32_t sequence, std::int64_t begin, std::int64_t end);
  /// For the decoder: the numbers of a sequence's pages.
  [[nodiscard]] std::span<const std::int32_t> pages(std::int32_t sequence) const { return sequences_[static_cast<std::size_t>(sequence)]; }
  [[nodiscard]] PageStore& store() { return *store_; }

  /// Pages in use.
  [[nodiscard]] std::int64_t used_pages() const { return static_cast<std::int64_t>(users_.size() - unused_.size()); }

 private:
  std::int32_t take();
  void release(std::int32_t page);

  std::unique_ptr<PageStore> store_;
  std::vector<int> users_;  // of each page
  std::vector<std::int32_t> unused_;
  std::vector<std::vector<std::int32_t>> sequences_;
  std::vector<std::int32_t> closed_;
};

}  // namespace assay
