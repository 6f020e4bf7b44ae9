#include <algorithm>
#include <string_view>
#include <utility>

#include "assay/text/tokenizer.h"

namespace assay {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD: what decoders put for bytes that make no character
constexpr int kMaxHeld = 3;                                // bytes that can still wait for the rest of their character
constexpr std::size_t kMaxPending = 8;                     // tokens; after that the text will not become whole any more

/// Length of `text` without the replacement characters at its end that more bytes may still turn into a character. Byte-level decoders put
/// one for an incomplete character, byte-fallback decoders one for each byte.
std::size_t settled(std::string_view text) {
  std::size_t size = text.size();
  for (int i = 0; i < kMaxHeld && text.substr(0, size).ends_with(kReplacement); ++i) size -= kReplacement.size();
  return size;
}

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, bool skip_special) : tokenizer_(tokenizer), skip_special_(skip_special) {}

std::string TextStream::push(TokenId id) {
  ids_.push_back(id);
  // A decoder looks at neighbours (leading blanks, word pieces), so what was emitted last is decoded again as context.
  const std::string text = tokenizer_.decode(ids_, skip_special_);
  const std::size_t end = settled(text);
  if (end < emitted_.size() || std::string_view(text).substr(0, emitted_.size()) != emitted_) {
    // The new token changed how earlier bytes decode: a byte-fallback decoder turns a whole run of bytes into replacement characters while
    // its last character is incomplete. Wait for the rest, but not for ever.
    const std::string tail = tokenizer_.decode(std::span(ids_).subspan(clean_), skip_special_);
    const bool waiting = settled(tail) != tail.size() && ids_.size() - clean_ < kMaxPending;
    return waiting ? std::string() : flush();
  }
  std::string piece = text.substr(emitted_.size(), end - emitted_.size());
  emitted_ = text.substr(0, end);
  beyond_ += piece.size();
  if (end == text.size() && !piece.empty()) {
    ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(clean_));
    clean_ = ids_.size();
    beyond_ = 0;
    emitted_ = tokenizer_.decode(ids_, skip_special_);
  }
  return piece;
}

std::string TextStream::flush() {
  const std::vector<TokenId> pending(ids_.begin() + static_cast<std::ptrdiff_t>(clean_), ids_.end());
  const std::string tail = tokenizer_.decode(pending, skip_special_);
  ids_ = pending;
  clean_ = ids_.size();
  emitted_ = tail;
  return tail.substr(std::min(std::exchange(beyond_, 0), tail.size()));
}

std::string TextStream::finish() {
  const std::string text = tokenizer_.decode(ids_, skip_special_);
  std::string rest = text.starts_with(emitted_) ? text.substr(emitted_.size()) : flush();
  ids_.clear();
  emitted_.clear();
  clean_ = beyond_ = 0;
  return rest;
}

}  // namespace assay
