#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "assay/base/json.h"

namespace assay {

/// The pieces of a tokenizer.json, put together as text. Vocabularies are written token by token: an ordered Json object takes quadratic
/// time to fill.
struct TokenizerJson {
  struct Added {
    std::size_t id;
    std::string content;
    bool special;
  };
  std::vector<Added> added;
  Json normalizer = nullptr, pre_tokenizer = nullptr, post_processor = nullptr, decoder = nullptr;
  /// What stands in "model" before the vocabulary, "type" first.
  Json model = Json::object();
  std::vector<std::string> tokens;                          ///< the index is the id
  std::vector<std::pair<std::string, std::string>> merges;  ///< BPE only
};

/// Tokens must be UTF-8; an Error names `where`.
std::string to_text(const TokenizerJson& parts, std::string_view where);

/// {"type": "Replace", ...} with a regular expression or a plain text, as normalizers and decoders have it.
Json replace_regex(std::string_view regex, std::string_view content);
Json replace_text(std::string_view text, std::string_view content);

}  // namespace assay
