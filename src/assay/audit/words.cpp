#include "assay/audit/words.h"

#include <algorithm>
#include <cctype>

namespace assay {

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

Words words_of(std::string_view text) {
  Words out;
  std::string word;
  const auto close = [&] {
    // Quotation marks look like apostrophes.
    while (!word.empty() && word.front() == '\'') word.erase(word.begin());
    while (!word.empty() && word.back() == '\'') word.pop_back();
    if (!word.empty()) out.words.push_back(std::move(word));
    word.clear();
  };
  for (const char raw : text) {
    const auto c = static_cast<unsigned char>(raw);
    if (std::isalnum(c) || c == '\'' || c >= 0x80) {
      word += static_cast<char>(c < 0x80 ? std::tolower(c) : c);
      if (c != '\'') out.asks = false;
    } else {
      close();
      if (c == '?') out.asks = true;
      if (c == '.' || c == '!') out.asks = false;
    }
  }
  close();
  return out;
}

bool holds(const Words& text, const std::vector<std::string>& phrase) {
  if (phrase.empty() || phrase.size() > text.words.size()) return false;
  const std::string plural = phrase.back() + "s";
  for (std::size_t i = 0; i + phrase.size() <= text.words.size(); ++i) {
    const auto at = text.words.begin() + static_cast<std::ptrdiff_t>(i);
    const std::string& last = text.words[i + phrase.size() - 1];
    if (std::equal(phrase.begin(), phrase.end() - 1, at) && (last == phrase.back() || last == plural)) return true;
  }
  return false;
}

bool starts_with(const Words& text, const std::vector<std::string>& phrase) {
  return !phrase.empty() && phrase.size() <= text.words.size() && std::equal(phrase.begin(), phrase.end(), text.words.begin());
}

bool ends_with(const Words& text, const std::vector<std::string>& phrase) {
  return !phrase.empty() && phrase.size() <= text.words.size() && std::equal(phrase.rbegin(), phrase.rend(), text.words.rbegin());
}

std::string join(const std::vector<std::string>& words, std::size_t begin, std::size_t end) {
  std::string out;
  for (std::size_t i = begin; i < end; ++i) out += (i == begin ? "" : " ") + words[i];
  return out;
}

std::string join(const std::vector<std::string>& words) { return join(words, 0, words.size()); }

}  // namespace assay
