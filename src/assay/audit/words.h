#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace assay {

/// A text as predicates and statistics see it: lower-case words (letters, digits, apostrophes, every byte of other scripts), punctuation
/// dropped.
struct Words {
  std::vector<std::string> words;
  bool asks = false;  ///< the last mark is a question mark

  [[nodiscard]] bool empty() const { return words.empty(); }
};
Words words_of(std::string_view text);

/// The phrase stands somewhere in the text as whole words; its last word may carry a plural s.
bool holds(const Words& text, const std::vector<std::string>& phrase);
bool starts_with(const Words& text, const std::vector<std::string>& phrase);
bool ends_with(const Words& text, const std::vector<std::string>& phrase);
/// Words [begin, end) with spaces between.
std::string join(const std::vector<std::string>& words, std::size_t begin, std::size_t end);
std::string join(const std::vector<std::string>& words);

/// ASCII lower case; other bytes stay.
std::string lower_case(std::string_view text);

}  // namespace assay
