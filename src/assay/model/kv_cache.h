#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "assay/model/config.h"

namespace assay {

enum class Precision;

/// Keys and values of sequences in flight, in pages of kernels::kPageKeys positions that sequences share: a common prefix is computed and
/// stored once. A page holds all layers and kv heads of its positions, in the layout that the kernels read (kernels/decode.inc). A shared
/// page is copied when a sequence writes into it.
class KvCache {
 public:
  KvCache(const ModelConfig& config, Precision precision);
  ~KvCache();
  KvCache(KvCache&&) noexcept;

  /// A new, empty sequence; its number.
  std::int32_t open();
  /// A new sequence that begins with the first n positions of `parent` (which must have been written).
  std::int32_t fork(std::int32_t parent, std::int64_t n);
  /// Gives its pages back.
  void close(std::int32_t sequence);

  /// For the decoder: makes positions [begin, end) of a sequence writable. Positions below `begin` must exist.
  void prepare(std::int32_t sequence, std::int64_t begin, std::int64_t end);
  [[nodiscard]] std::span<std::uint32_t* const> pages(std::int32_t sequence) const;
  /// Words from a page's begin to those of (layer, kv head).
  [[nodiscard]] std::int64_t offset(std::int64_t layer, std::int64_t head) const { return (layer * n_kv_heads_ + head) * head_words_; }
  [[nodiscard]] Precision precision() const { return precision_; }

  /// Pages in use.
  [[nodiscard]] std::int64_t used_pages() const;

 private:
  struct Page;
  struct Sequence {
    std::vector<Page*> held;
    std::vector<std::uint32_t*> words;  // of each held page
  };
  Page* take();
  void release(Page* page);

  Precision precision_;
  std::int64_t n_kv_heads_ = 0, head_words_ = 0, page_words_ = 0;
  std::vector<std::unique_ptr<Page>> all_;
  std::vector<Page*> unused_;
  std::vector<Sequence> sequences_;
  std::vector<std::int32_t> closed_;
};

}  // namespace assay
