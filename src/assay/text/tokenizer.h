#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

using TokenId = std::int32_t;

struct Encoding {
  std::vector<TokenId> ids;
  std::vector<std::string> tokens;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> offsets;  ///< half-open, in code points of the input
  std::vector<std::uint32_t> type_ids;                           ///< which sentence of a pair: 0 or 1
};

/// A tokenizer of a Hugging Face `tokenizer.json`, run by the crate `tokenizers` (the implementation that the checkpoints were made with).
/// Thread-safe for reading; cheap to copy (shared).
class Tokenizer {
 public:
  static Tokenizer from_file(const std::filesystem::path& tokenizer_json);
  static Tokenizer from_json(std::string_view text, std::string_view where);

  /// Special tokens that stand in the text are recognised; `add_special` also applies the post-processor (BOS and the like).
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text, bool add_special = true) const;
  [[nodiscard]] Encoding encode_full(std::string_view text, bool add_special = true) const;
  /// A pair of sentences (BERT); the post-processor joins them.
  [[nodiscard]] Encoding encode_pair(std::string_view first, std::string_view second, bool add_special = true) const;
  /// Ids outside the vocabulary are an Error.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids, bool skip_special = false) const;
  [[nodiscard]] std::optional<TokenId> id_of(std::string_view token) const;
  [[nodiscard]] std::string token_of(TokenId id) const;
  /// Added tokens included.
  [[nodiscard]] std::int64_t vocabulary_size() const;
  /// The tokenizer.json this was made from, byte for byte.
  [[nodiscard]] const std::string& json() const;

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

/// Emits text as tokens arrive: holds back bytes of a character that is not complete yet.
class TextStream {
 public:
  explicit TextStream(const Tokenizer& tokenizer, bool skip_special = true);
  /// The text that this token completes; may be empty.
  std::string push(TokenId id);
  /// What is left.
  std::string finish();

 private:
  Tokenizer tokenizer_;
  bool skip_special_;
  std::string flush();
  std::vector<TokenId> ids_;  // what is still needed: context that was emitted, then what is pending
  std::size_t clean_ = 0;     // all text of ids_[0, clean_) was handed out
  std::size_t beyond_ = 0;    // bytes handed out of what follows
  std::string emitted_;       // text of ids_ that was handed out
};

}  // namespace assay
