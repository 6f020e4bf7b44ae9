#include "assay/text/tokenizer_json.h"

#include <unordered_set>

namespace assay {

namespace {

std::string quoted(const std::string& token, std::string_view where) {
  try {
    return Json(token).dump();
  } catch (const Json::exception&) {
    throw Error("tokenizer build", std::string(where) + ": a token is not valid UTF-8");
  }
}

}  // namespace

Json replace_regex(std::string_view regex, std::string_view content) {
  return {{"type", "Replace"}, {"pattern", {{"Regex", regex}}}, {"content", content}};
}

Json replace_text(std::string_view text, std::string_view content) {
  return {{"type", "Replace"}, {"pattern", {{"String", text}}}, {"content", content}};
}

std::string to_text(const TokenizerJson& parts, std::string_view where) {
  Json added = Json::array();
  for (const auto& token : parts.added) {
    added.push_back({{"id", token.id},
                     {"content", token.content},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", token.special}});
  }
  Json head = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  head["added_tokens"] = std::move(added);
  head["normalizer"] = parts.normalizer;
  head["pre_tokenizer"] = parts.pre_tokenizer;
  head["post_processor"] = parts.post_processor;
  head["decoder"] = parts.decoder;
  std::string text;
  try {
    text = head.dump();
  } catch (const Json::exception&) {
    throw Error("tokenizer build", std::string(where) + ": an added token is not valid UTF-8");
  }
  text.pop_back();
  std::string model = parts.model.dump();
  model.pop_back();
  text += ",\"model\":" + model + ",\"vocab\":{";
  std::unordered_set<std::string_view> seen;
  for (std::size_t id = 0; id < parts.tokens.size(); ++id) {
    if (!seen.insert(parts.tokens[id]).second) continue;
    if (seen.size() > 1) text += ',';
    text += "\n" + quoted(parts.tokens[id], where) + ":" + std::to_string(id);
  }
  text += '}';
  if (parts.model.value("type", "") == "BPE") {
    text += ",\"merges\":[";
    for (std::size_t i = 0; i < parts.merges.size(); ++i) {
      if (i > 0) text += ',';
      text += "\n[" + quoted(parts.merges[i].first, where) + "," + quoted(parts.merges[i].second, where) + "]";
    }
    text += ']';
  }
  return text + "}}\n";
}

}  // namespace assay
