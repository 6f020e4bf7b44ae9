#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "assay/base/json.h"
#include "assay/text/conversation.h"

namespace assay {

struct SpecialTokens {
  std::string bos, eos, pad, unk;  ///< empty = the variable is not defined in the template
};

struct RenderOptions {
  bool add_generation_prompt = false;
  bool continue_final_message = false;  ///< cut right after the last message's content (prefill), as transformers does
  Json tools = nullptr;                 ///< null or an array
  Json extra = Json::object();          ///< further variables (enable_thinking, date_string, ...)
  std::optional<std::string> now = {};  ///< what strftime_now sees, "YYYY-MM-DD HH:MM:SS"; absent = the clock
};

struct Rendered {
  std::string text;
  /// Half-open ranges in code points of what stands inside {% generation %}.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> assistant_spans;
};

/// A Jinja chat template with the environment of transformers (trim_blocks, lstrip_blocks, loop controls, tojson without HTML escapes), run
/// by minijinja.
class ChatTemplate {
 public:
  ChatTemplate(std::string source, SpecialTokens special);
  /// From a folder's chat_template.jinja or tokenizer_config.json (chat_template as string or as list with "default"); nullopt where there
  /// is none.
  static std::optional<ChatTemplate> from_folder(const std::filesystem::path& folder);

  /// `messages` as in the JSON of the user (tool calls and content parts pass through). A template's raise_exception becomes an Error with
  /// its message.
  [[nodiscard]] Rendered render(const Json& messages, const RenderOptions& options = {}) const;
  /// The text after which the model is to write `turn`. Prefilled last message: continued. Turn::user: the template's own opening of a user
  /// turn, found by rendering a marker message and cutting before it. Turn::raw: contents concatenated.
  [[nodiscard]] std::string prompt(const Conversation& conversation, Turn turn = Turn::assistant) const;
  [[nodiscard]] const std::string& source() const;
  [[nodiscard]] const SpecialTokens& special() const;

 private:
  std::string source_;
  SpecialTokens special_;
};

}  // namespace assay
