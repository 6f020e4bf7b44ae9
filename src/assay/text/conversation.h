#pragma once
#include <string>
#include <vector>

#include "assay/base/json.h"

namespace assay {

/// One message of a chat. `prefilled` marks text that somebody planted in the assistant's mouth: it is never credited to the model.
struct Message {
  std::string role, content;
  bool prefilled = false;
};

using Conversation = std::vector<Message>;

/// [{"role","content"}...]; other keys ("name", "tool_calls") are ignored here. Errors name `where`.
Conversation conversation_from_json(const Json& messages, std::string_view where);
/// With "prefill": true where it applies.
Json to_json(const Conversation& conversation);

/// Whose turn the model is to write next.
enum class Turn {
  assistant,  ///< the template's generation prompt (after a prefilled last message: that message is continued)
  user,       ///< the user's turn is opened and the model writes it (persona sampling)
  raw,        ///< no template: the contents are concatenated as they stand
};

}  // namespace assay
