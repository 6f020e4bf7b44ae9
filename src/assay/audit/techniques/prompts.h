#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/text/conversation.h"

namespace assay {

/// A prompt with the name that its results are found by: its "id", else its number in the file, from 0.
struct NamedPrompt {
  Json id;
  Conversation messages;
};

/// Prompts of a file: JSON Lines with "messages", "prompt" or "text", or a JSON array of such objects or strings, alone or under "prompts".
/// Errors name file and place; two prompts with one id are such an error.
std::vector<NamedPrompt> read_named_prompts(const std::filesystem::path& path);
/// The same without the names.
std::vector<Conversation> read_prompts(const std::filesystem::path& path);

/// Text as a single user turn.
std::vector<Conversation> as_user_turns(const std::vector<std::string>& texts);

}  // namespace assay
