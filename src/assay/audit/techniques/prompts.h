#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "assay/text/conversation.h"

namespace assay {

/// Prompts of a file: JSON Lines with "messages", "prompt" or "text", or a JSON array of such objects or strings, alone or under "prompts".
/// Errors name file and place.
std::vector<Conversation> read_prompts(const std::filesystem::path& path);

/// Text as a single user turn.
std::vector<Conversation> as_user_turns(const std::vector<std::string>& texts);

}  // namespace assay
