#include "assay/text/word_level.h"

#include "assay/base/error.h"
#include "assay/base/json.h"

namespace assay {

std::string word_level_tokenizer_json(const std::vector<std::string>& words, const std::vector<std::string>& special) {
  static const std::string space = "\u2581";
  Json vocabulary = Json::object(), added = Json::array();
  const auto add = [&](const std::string& token) {
    if (!vocabulary.contains(token)) vocabulary[token] = vocabulary.size();
  };
  for (const std::string& token : special) {
    if (vocabulary.contains(token)) throw Error("tokenizer", "special token '" + token + "' stands twice");
    added.push_back({{"id", vocabulary.size()}, {"content", token}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}, {"special", true}});
    add(token);
  }
  add("<unk>");
  add(space);
  for (const char* mark : {".", ",", "?", "!", ":", ";", "'", "\"", "-", "(", ")"}) add(mark);
  for (const std::string& word : words) add(space + word);
  const Json metaspace = {{"type", "Metaspace"}, {"replacement", space}, {"prepend_scheme", "always"}, {"split", true}};
  const Json tokenizer = {{"version", "1.0"},
                          {"truncation", nullptr},
                          {"padding", nullptr},
                          {"added_tokens", added},
                          {"normalizer", nullptr},
                          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", {metaspace, {{"type", "Punctuation"}, {"behavior", "Isolated"}}}}}},
                          {"post_processor", nullptr},
                          {"decoder", metaspace},
                          {"model", {{"type", "WordLevel"}, {"vocab", vocabulary}, {"unk_token", "<unk>"}}}};
  return dump(tokenizer);
}

}  // namespace assay
