#include "assay/audit/techniques/prompts.h"

#include <map>

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

Json id_of(const Json& item, std::size_t number, const std::string& where) {
  const auto it = item.is_object() ? item.find("id") : item.end();
  if (it == item.end()) return number;
  if (!it->is_string() && !it->is_number_integer()) throw Error("prompts", where + ": 'id' must be a string or a whole number");
  return *it;
}

}  // namespace

std::vector<NamedPrompt> read_named_prompts(const fs::path& path) {
  std::vector<NamedPrompt> out;
  std::map<std::string, std::string> places;  // by id
  const auto add = [&](const Json& item, const std::string& where) {
    NamedPrompt prompt{id_of(item, out.size(), where), conversation_of(item, where)};
    if (prompt.messages.empty()) throw Error("prompts", where + ": 'messages' is empty");
    const auto [first, is_new] = places.emplace(dump(prompt.id), where);
    if (!is_new) throw Error("prompts", where + " has the id " + first->first + ", as " + first->second + " has");
    out.push_back(std::move(prompt));
  };
  const std::string text = read_text(path);
  // A whole document if it parses as one, else a line at a time.
  if (Json::accept(text)) {
    const Json whole = parse_json(text, path.string());
    const bool wrapped = whole.is_object() && whole.contains("prompts");
    const Json& list = wrapped ? whole.at("prompts") : whole;
    if (wrapped && !list.is_array()) throw Error("prompts", path.string() + ": 'prompts' must be an array");
    if (list.is_array()) {
      for (std::size_t i = 0; i < list.size(); ++i) add(list[i], path.string() + " prompt " + std::to_string(i));
    } else {
      add(list, path.string());  // a single line
    }
  } else {
    for_each_json_line(path, add);
  }
  if (out.empty()) throw Error("prompts", path.string() + " holds no prompt");
  return out;
}

std::vector<Conversation> read_prompts(const fs::path& path) {
  std::vector<Conversation> out;
  for (NamedPrompt& prompt : read_named_prompts(path)) out.push_back(std::move(prompt.messages));
  return out;
}

std::vector<Conversation> as_user_turns(const std::vector<std::string>& texts) {
  std::vector<Conversation> out;
  for (const std::string& text : texts) out.push_back({{"user", text}});
  return out;
}

}  // namespace assay
