#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "assay/base/json.h"

namespace assay {

// Readers of JSON Lines. All or nothing: a file with a bad line gives an Error that names file and line, never the lines before it. Blank
// lines are skipped; a byte-order mark and \r\n are accepted. `where` is "file:line".

/// Calls `each` with every object of the file, in order.
void for_each_json_line(const std::filesystem::path& path, const std::function<void(const Json& object, const std::string& where)>& each);

struct Document {
  std::string text, where;
};
/// {"text": ...}; other keys are ignored.
std::vector<Document> read_documents(const std::filesystem::path& path);

struct Chat {
  Json messages;  ///< a non-empty array of {"role", "content", ...}, as it stands in the file
  std::string where;
};
/// {"messages": [...]}.
std::vector<Chat> read_chats(const std::filesystem::path& path);

/// Two continuations of one prompt; all three are arrays of messages, and the continuations begin with the assistant.
struct PreferenceRecord {
  Json prompt, chosen, rejected;
  std::string where;
};
/// {"chosen", "rejected"} as lists of messages with a common beginning (the prompt), or, with "prompt" (a string or a list of messages), as
/// answers: strings or lists of messages.
std::vector<PreferenceRecord> read_pairs(const std::filesystem::path& path);

/// Writes one object a line, atomically.
void write_json_lines(const std::filesystem::path& path, const std::vector<Json>& objects);

}  // namespace assay
