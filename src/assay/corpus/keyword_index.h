#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "assay/base/progress.h"

struct sqlite3;

namespace assay {

struct IndexedText {
  std::string where;  ///< where it comes from, for instance "file:line"
  std::string text;
};

enum class Match {
  all_words,  ///< every word somewhere in the text; a part in double quotes is a phrase
  any_word,   ///< one of them at least
  phrase,     ///< the words side by side, in order
};

/// Full-text index over documents: an SQLite FTS5 table (unicode61 tokenizer: case and diacritics do not count) in one file. Any text is a
/// safe query.
class KeywordIndex {
 public:
  struct Hit {
    std::int64_t id = 0;         ///< number of the document, from 0, in the order of building
    double score = 0;            ///< bm25, higher is better
    std::string where, snippet;  ///< matched words stand in [brackets]
  };

  /// Replaces `file` atomically. The corpus files hold {"text": ...} lines or chats {"messages": [...]}, whose contents are joined.
  static void build(const std::filesystem::path& file, const std::vector<std::filesystem::path>& corpus,
                    Progress& progress = no_progress());
  static void build(const std::filesystem::path& file, std::span<const IndexedText> texts);

  /// Opens for reading. Anything but an index is an Error.
  explicit KeywordIndex(const std::filesystem::path& file);
  ~KeywordIndex();
  KeywordIndex(KeywordIndex&&) noexcept;
  KeywordIndex& operator=(KeywordIndex&&) = delete;

  /// Best first.
  [[nodiscard]] std::vector<Hit> search(std::string_view query, Match match = Match::all_words, std::int64_t limit = 10) const;
  /// How many documents match.
  [[nodiscard]] std::int64_t count(std::string_view query, Match match = Match::all_words) const;
  [[nodiscard]] std::int64_t documents() const;
  /// The whole text of a document.
  [[nodiscard]] std::string text(std::int64_t id) const;

 private:
  std::filesystem::path file_;
  sqlite3* database_ = nullptr;
};

/// The FTS5 expression of a user's query: every word quoted, so that nothing in it is an operator. Empty where the query holds no word.
std::string fts_expression(std::string_view query, Match match);

}  // namespace assay
