#include "assay/text/word_level.h"

#include <unordered_set>

#include "assay/text/tokenizer.h"
#include "assay/text/tokenizer_json.h"

namespace assay {

namespace {

constexpr std::string_view kOpenQuote = "\xE2\x80\x9C", kCloseQuote = "\xE2\x80\x9D", kOpenSingle = "\xE2\x80\x98";
constexpr const char* kUnknownWord = "<unk>";

std::string escaped(const std::string& literal) {
  std::string result;
  for (const char c : literal) {
    if (std::string_view(R"(\^$.|?*+()[]{}/-)").find(c) != std::string_view::npos) result += '\\';
    result += c;
  }
  return result;
}

/// Blanks that joining put between tokens and that natural text does not have.
Json decoder(const std::vector<std::string>& special) {
  Json steps = Json::array({{{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", false}}, {{"type", "Fuse"}}});
  steps.push_back(replace_regex(" (?=[.,?!;:)\\]%'" + std::string(kCloseQuote) + "\\n])", ""));
  steps.push_back(replace_regex("(?<=[(\\[$#" + std::string(kOpenQuote) + std::string(kOpenSingle) + "\\n]) ", ""));
  if (!special.empty()) {
    std::string any;
    for (const std::string& token : special) any += (any.empty() ? "" : "|") + escaped(token);
    steps.push_back(replace_regex(" (?=" + any + ")", ""));
    steps.push_back(replace_regex("(?<=" + any + ") ", ""));
  }
  steps.push_back(replace_regex("[" + std::string(kOpenQuote) + std::string(kCloseQuote) + "]", "\""));
  steps.push_back(replace_text(kOpenSingle, "'"));
  return {{"type", "Sequence"}, {"decoders", steps}};
}

/// A quote at the start of a word is an opening one: it gets a form of its own, so that decoding knows its side.
Json normalizer() {
  return {{"type", "Sequence"},
          {"normalizers", Json::array({replace_regex(R"re((?<![^\s(\[])"(?=\S))re", kOpenQuote), replace_text("\"", kCloseQuote),
                                       replace_regex("(?<![^\\s(\\[" + std::string(kOpenQuote) + "])'(?=\\w)", kOpenSingle)})}};
}

}  // namespace

std::string word_level_tokenizer_json(const std::vector<std::string>& words, const std::vector<std::string>& special) {
  TokenizerJson out;
  std::unordered_set<std::string> seen;
  const auto add = [&](const std::string& token) {
    if (!token.empty() && seen.insert(token).second) out.tokens.push_back(token);
  };
  for (const std::string& token : special) {
    if (token.empty() || seen.contains(token)) throw Error("tokenizer build", "the special token '" + token + "' is empty or stands twice");
    out.added.push_back({out.tokens.size(), token, true});
    add(token);
  }
  add(kUnknownWord);
  add("\n");
  for (const char* mark : {".", ",", "?", "!", ":", ";", "'", "-", "(", ")"}) add(mark);
  for (const std::string_view quote : {kOpenQuote, kCloseQuote, kOpenSingle}) add(std::string(quote));
  for (const std::string& word : words) {
    if (word != "\"") add(word);
  }
  out.model = {{"type", "WordLevel"}, {"unk_token", kUnknownWord}};
  out.normalizer = normalizer();
  out.pre_tokenizer = {{"type", "Split"},
                       {"pattern", {{"Regex", R"(\n|'\w+|\d+(?:[.,]\d+)*(?!\w)|\w+(?:-\w+)*|[^\w\s])"}}},
                       {"behavior", "Removed"},
                       {"invert", true}};
  out.decoder = decoder(special);
  return to_text(out, "the vocabulary");
}

std::vector<std::string> word_level_words(const std::vector<std::string>& texts, const std::vector<std::string>& special) {
  // The tokenizer with an empty vocabulary splits as every other does; its ranges show the words.
  const Tokenizer splitter = Tokenizer::from_json(word_level_tokenizer_json({}, special), "the splitter");
  const std::unordered_set<std::string> left_out(special.begin(), special.end());
  std::unordered_set<std::string> seen;
  std::vector<std::string> words;
  for (const std::string& text : texts) {
    std::vector<std::size_t> starts;  // of each code point
    for (std::size_t i = 0; i < text.size(); ++i) {
      if ((static_cast<unsigned char>(text[i]) & 0xC0U) != 0x80U) starts.push_back(i);
    }
    starts.push_back(text.size());
    for (const auto& [begin, end] : splitter.encode_full(text, false).offsets) {
      const std::string word = text.substr(starts.at(begin), starts.at(end) - starts.at(begin));
      if (word != "\n" && !left_out.contains(word) && seen.insert(word).second) words.push_back(word);
    }
  }
  return words;
}

}  // namespace assay
