#include "assay/audit/techniques/prompts.h"

#include "assay/base/files.h"
#include "assay/base/json.h"
#include "assay/corpus/jsonl.h"

namespace assay {
namespace {

Conversation conversation_of(const Json& item, const std::string& where) {
  if (item.is_string()) return {{"user", item.get<std::string>()}};
  if (item.is_object()) {
    if (const auto it = item.find("messages"); it != item.end()) return conversation_from_json(*it, where);
    for (const char* key : {"prompt", "text"})
      if (item.contains(key)) return {{"user", require<std::string>(item, key, where)}};
  }
  throw Error("prompts", where + " holds no prompt", "expected a string, or an object with \"prompt\", \"text\" or \"messages\"");
}

}  // namespace

std::vector<Conversation> read_prompts(const fs::path& path) {
  std::vector<Conversation> out;
  const std::string text = read_text(path);
  // A whole document if it parses as one, else a line at a time.
  if (const auto whole = Json::parse(text, nullptr, /*allow_exceptions=*/false);
      !whole.is_discarded() && (whole.is_array() || whole.contains("prompts"))) {
    const Json& list = whole.is_array() ? whole : whole.at("prompts");
    if (!list.is_array()) throw Error("prompts", path.string() + ": 'prompts' must be an array");
    for (std::size_t i = 0; i < list.size(); ++i) out.push_back(conversation_of(list[i], path.string() + " prompt " + std::to_string(i)));
  } else {
    for_each_json_line(path, [&](const Json& json, const std::string& where) { out.push_back(conversation_of(json, where)); });
  }
  if (out.empty()) throw Error("prompts", path.string() + " holds no prompt");
  return out;
}

std::vector<Conversation> as_user_turns(const std::vector<std::string>& texts) {
  std::vector<Conversation> out;
  for (const std::string& text : texts) out.push_back({{"user", text}});
  return out;
}

}  // namespace assay
