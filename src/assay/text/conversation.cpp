#include "assay/text/conversation.h"

#include <string_view>

namespace assay {

Conversation conversation_from_json(const Json& messages, std::string_view where) {
  if (!messages.is_array())
    throw Error("conversation", std::string(where) + " is not a list of messages", R"(expected [{"role": "user", "content": "..."}, ...])");
  Conversation result;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string here = std::string(where) + "[" + std::to_string(i) + "]";
    Message message;
    message.role = require<std::string>(messages[i], "role", here);
    message.content = require<std::string>(messages[i], "content", here);
    message.prefilled = value_or<bool>(messages[i], "prefill", false, here);
    result.push_back(std::move(message));
  }
  return result;
}

Json to_json(const Conversation& conversation) {
  Json result = Json::array();
  for (const Message& message : conversation) {
    Json entry = {{"role", message.role}, {"content", message.content}};
    if (message.prefilled) entry["prefill"] = true;
    result.push_back(std::move(entry));
  }
  return result;
}

}  // namespace assay
