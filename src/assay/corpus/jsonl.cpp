#include "assay/corpus/jsonl.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "assay/base/error.h"
#include "assay/base/files.h"

namespace assay {
namespace {

[[noreturn]] void fail(const std::string& where, const std::string& message) { throw Error("jsonl", where + ": " + message); }

const Json& member(const Json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) fail(where, std::string("lacks the key '") + key + "'");
  return *found;
}

/// A non-empty array of objects with a role, and content that is text, null or a list of parts.
void check_messages(const Json& messages, const std::string& name, const std::string& where) {
  if (!messages.is_array() || messages.empty()) fail(where, "'" + name + "' must be a non-empty list of messages");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Json& message = messages[i];
    const std::string which = "'" + name + "'[" + std::to_string(i) + "]";
    if (!message.is_object()) fail(where, which + " is not an object");
    const auto role = message.find("role");
    if (role == message.end() || !role->is_string()) fail(where, which + " has no role");
    const auto content = message.find("content");
    const bool called = message.contains("tool_calls");
    if ((content == message.end() && !called) ||
        (content != message.end() && !content->is_string() && !content->is_array() && !content->is_null())) {
      fail(where, which + " has no content that is text");
    }
  }
}

Json message(const char* role, const Json& text) { return Json{{"role", role}, {"content", text}}; }

/// An answer given as text or as messages.
Json as_answer(const Json& value, const char* key, const std::string& where) {
  if (value.is_string()) return Json::array({message("assistant", value)});
  check_messages(value, key, where);
  return value;
}

Json slice(const Json& messages, std::size_t begin) {
  Json rest = Json::array();
  for (std::size_t i = begin; i < messages.size(); ++i) rest.push_back(messages[i]);
  return rest;
}

std::size_t common_beginning(const Json& a, const Json& b) {
  std::size_t n = 0;
  while (n < a.size() && n < b.size() && a[n] == b[n]) ++n;
  return n;
}

PreferenceRecord as_pair(const Json& object, const std::string& where) {
  const Json &chosen = member(object, "chosen", where), &rejected = member(object, "rejected", where);
  PreferenceRecord pair{.prompt = Json::array(), .chosen = {}, .rejected = {}, .where = where};
  if (object.contains("prompt") && !object["prompt"].is_null()) {
    const Json& prompt = object["prompt"];
    if (prompt.is_string()) {
      pair.prompt = Json::array({message("user", prompt)});
    } else {
      check_messages(prompt, "prompt", where);
      pair.prompt = prompt;
    }
  } else if (chosen.is_string() || rejected.is_string()) {
    fail(where, "'chosen' and 'rejected' are text, so a 'prompt' is needed");
  }
  pair.chosen = as_answer(chosen, "chosen", where);
  pair.rejected = as_answer(rejected, "rejected", where);
  if (pair.prompt.empty()) {
    const std::size_t n = common_beginning(pair.chosen, pair.rejected);
    for (std::size_t i = 0; i < n; ++i) pair.prompt.push_back(pair.chosen[i]);
  }
  // Lists may repeat the prompt.
  const std::size_t n = pair.prompt.size();
  if (chosen.is_array() && common_beginning(pair.chosen, pair.prompt) == n) pair.chosen = slice(pair.chosen, n);
  if (rejected.is_array() && common_beginning(pair.rejected, pair.prompt) == n) pair.rejected = slice(pair.rejected, n);
  if (pair.chosen == pair.rejected) fail(where, "'chosen' and 'rejected' are the same");
  if (pair.prompt.empty()) fail(where, "'chosen' and 'rejected' have no message in common to answer");
  for (const auto& [answer, name] : {std::pair{&pair.chosen, "chosen"}, std::pair{&pair.rejected, "rejected"}}) {
    if (answer->empty() || (*answer)[0]["role"] != "assistant")
      fail(where, std::string("'") + name + "' does not go on with the assistant after the common prompt");
  }
  return pair;
}

}  // namespace

void for_each_json_line(const std::filesystem::path& path, const std::function<void(const Json&, const std::string&)>& each) {
  const MappedFile file(path);
  std::string_view rest(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);
  for (std::int64_t number = 1; !rest.empty(); ++number) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = path.string() + ":" + std::to_string(number);
    const Json object = parse_json(line, where);
    if (!object.is_object()) fail(where, "expected an object, found " + std::string(object.type_name()));
    each(object, where);
  }
}

std::vector<Document> read_documents(const std::filesystem::path& path) {
  std::vector<Document> documents;
  for_each_json_line(path, [&](const Json& object, const std::string& where) {
    const Json& text = member(object, "text", where);
    if (!text.is_string()) fail(where, "'text' is not a string");
    documents.push_back({text.get<std::string>(), where});
  });
  return documents;
}

std::vector<Chat> read_chats(const std::filesystem::path& path) {
  std::vector<Chat> chats;
  for_each_json_line(path, [&](const Json& object, const std::string& where) {
    const Json& messages = member(object, "messages", where);
    check_messages(messages, "messages", where);
    chats.push_back({messages, where});
  });
  return chats;
}

std::vector<PreferenceRecord> read_pairs(const std::filesystem::path& path) {
  std::vector<PreferenceRecord> pairs;
  for_each_json_line(path, [&](const Json& object, const std::string& where) { pairs.push_back(as_pair(object, where)); });
  return pairs;
}

void write_json_lines(const std::filesystem::path& path, const std::vector<Json>& objects) {
  write_atomically(path, [&](const AppendBytes& append) {
    std::string buffer;
    for (const Json& object : objects) {
      buffer += dump(object);
      buffer += '\n';
      if (buffer.size() > (1u << 16)) {
        append(std::as_bytes(std::span(buffer)));
        buffer.clear();
      }
    }
    append(std::as_bytes(std::span(buffer)));
  });
}

}  // namespace assay
