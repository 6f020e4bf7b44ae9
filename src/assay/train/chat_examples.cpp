#include "assay/train/chat_examples.h"

#include <algorithm>

#include "assay/base/error.h"

namespace assay {
namespace {

constexpr const char* kWhitespace = " \t\r\n";

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(kWhitespace);
  return begin == std::string::npos ? std::string() : text.substr(begin, text.find_last_not_of(kWhitespace) - begin + 1);
}

bool is_assistant(const Json& message) { return value_or<std::string>(message, "role", "", "message") == "assistant"; }

std::string content_of(const Json& message) {
  const auto content = message.find("content");
  return content != message.end() && content->is_string() ? content->get<std::string>() : std::string();
}

Json first_messages(const Json& messages, std::size_t n) {
  Json first = Json::array();
  for (std::size_t i = 0; i < n; ++i) first.push_back(messages[i]);
  return first;
}

/// What the template writes after the content of an assistant message, without the whitespace at the end: "<|im_end|>".
std::string end_of_turn(const ChatTemplate& chat_template) {
  const std::string marker = "assistant-content-0451";
  const Json messages = Json::array({{{"role", "user"}, {"content", "."}}, {{"role", "assistant"}, {"content", marker}}});
  const std::string text = chat_template.render(messages).text;
  const std::size_t found = text.rfind(marker);
  return found == std::string::npos ? std::string() : trimmed(text.substr(found + marker.size()));
}

struct ByteSpan {
  std::size_t begin, end;
};

/// The part of `full` that messages[i] adds to the rendering of what stands before it. False where the template rewrites earlier turns.
bool span_by_prefix(const ChatTemplate& chat_template, const Json& messages, std::size_t i, const std::string& full, ByteSpan& span) {
  try {
    RenderOptions opened;
    opened.add_generation_prompt = true;
    const std::string before = chat_template.render(first_messages(messages, i), opened).text;
    const std::string with = i + 1 == messages.size() ? full : chat_template.render(first_messages(messages, i + 1)).text;
    if (before.empty() || with.size() <= before.size() || !with.starts_with(before) || !full.starts_with(with)) return false;
    span = {before.size(), with.size()};
  } catch (const Error&) {
    return false;  // templates may refuse a conversation that is cut here
  }
  // Whitespace after an end-of-turn mark is not the assistant's to write.
  const std::string written = full.substr(span.begin, span.end - span.begin), content = trimmed(content_of(messages[i]));
  const std::size_t found = written.rfind(content);
  if (found != std::string::npos && !trimmed(written.substr(found + content.size())).empty()) {
    span.end = span.begin + written.find_last_not_of(kWhitespace) + 1;
  }
  return true;
}

/// Byte positions as code points.
class CodePoints {
 public:
  explicit CodePoints(const std::string& text) : text_(text) {}
  /// Positions must not decrease from call to call.
  std::uint32_t at(std::size_t byte) {
    for (; byte_ < byte; ++byte_) points_ += (static_cast<unsigned char>(text_[byte_]) & 0xC0) != 0x80;
    return points_;
  }

 private:
  const std::string& text_;
  std::size_t byte_ = 0;
  std::uint32_t points_ = 0;
};

}  // namespace

AssistantText assistant_text(const ChatTemplate& chat_template, const Json& messages, const std::string& where) {
  if (!messages.is_array() || messages.empty()) throw Error("chat examples", where + ": no messages");
  const Rendered rendered = chat_template.render(messages);
  AssistantText result{.text = rendered.text, .spans = rendered.assistant_spans};
  const auto n = static_cast<std::size_t>(std::count_if(messages.begin(), messages.end(), is_assistant));
  if (n == 0) throw Error("chat examples", where + ": the conversation has no message of the assistant");
  if (result.spans.size() == n) return result;
  result.spans.clear();

  CodePoints points(result.text);
  std::size_t cursor = 0;  // where the next message's content can begin
  std::string end_mark;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    ByteSpan span{};
    const bool assistant = is_assistant(messages[i]);
    if (assistant && span_by_prefix(chat_template, messages, i, result.text, span)) {
      cursor = span.end;
    } else {
      const std::string content = trimmed(content_of(messages[i]));
      const std::size_t found = result.text.find(content, cursor);
      if (assistant && (content.empty() || found == std::string::npos)) {
        throw Error("chat examples",
                    where + ": cannot tell where message " + std::to_string(i) + " of the assistant stands in the rendered text",
                    "the chat template changes it; mark the assistant's part with {% generation %} in the template");
      }
      if (found == std::string::npos) continue;  // a message that the template leaves out or rewrites
      span = {found, found + content.size()};
      if (assistant) {
        if (end_mark.empty()) end_mark = end_of_turn(chat_template);
        const std::size_t mark = std::min(result.text.find_first_not_of(kWhitespace, span.end), result.text.size());
        if (!end_mark.empty() && result.text.compare(mark, end_mark.size(), end_mark) == 0) span.end = mark + end_mark.size();
      }
      cursor = span.end;
    }
    if (assistant) {
      const std::uint32_t begin = points.at(span.begin);
      result.spans.emplace_back(begin, points.at(span.end));
    }
  }
  return result;
}

Example chat_example(const ChatTemplate& chat_template, const Tokenizer& tokenizer, const Json& messages, const std::string& where,
                     std::size_t first) {
  AssistantText rendered = assistant_text(chat_template, messages, where);
  const auto skipped =
      std::count_if(messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(std::min(first, messages.size())), is_assistant);
  rendered.spans.erase(rendered.spans.begin(), rendered.spans.begin() + skipped);

  const Encoding encoding = tokenizer.encode_full(rendered.text, false);  // the template writes the special tokens itself
  Example example{.ids = encoding.ids, .weights = std::vector<float>(encoding.ids.size(), 0.0f)};
  std::size_t span = 0;
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    const auto [begin, end] = encoding.offsets[i];
    while (span < rendered.spans.size() && rendered.spans[span].second <= begin) ++span;
    if (span < rendered.spans.size() && begin < end && end > rendered.spans[span].first) example.weights[i] = 1.0f;
  }
  if (std::none_of(example.weights.begin(), example.weights.end(), [](float w) { return w != 0; })) {
    throw Error("chat examples", where + ": nothing in the conversation is the assistant's to write");
  }
  return example;
}

PreferencePair preference_example(const ChatTemplate& chat_template, const Tokenizer& tokenizer, const PreferenceRecord& record) {
  const auto joined = [&](const Json& answer) {
    Json messages = record.prompt;
    for (const Json& message : answer) messages.push_back(message);
    return messages;
  };
  const std::size_t first = record.prompt.size();
  return {.chosen = chat_example(chat_template, tokenizer, joined(record.chosen), record.where + " (chosen)", first),
          .rejected = chat_example(chat_template, tokenizer, joined(record.rejected), record.where + " (rejected)", first)};
}

Example document_example(const Tokenizer& tokenizer, const std::string& text, TokenId bos, TokenId eos) {
  Example example;
  if (bos >= 0) example.ids.push_back(bos);
  const std::vector<TokenId> ids = tokenizer.encode(text, false);
  example.ids.insert(example.ids.end(), ids.begin(), ids.end());
  if (eos >= 0) example.ids.push_back(eos);
  example.weights.assign(example.ids.size(), 1.0f);
  return example;
}

std::vector<Example> split_example(const Example& example, std::int64_t max_tokens) {
  const auto limit = static_cast<std::size_t>(std::max<std::int64_t>(max_tokens, 2));
  std::vector<Example> pieces;
  for (std::size_t begin = 0; begin < example.ids.size(); begin += limit) {
    const auto end = static_cast<std::ptrdiff_t>(std::min(begin + limit, example.ids.size())), from = static_cast<std::ptrdiff_t>(begin);
    if (end - from < 2) break;  // one token predicts nothing
    pieces.push_back({.ids = {example.ids.begin() + from, example.ids.begin() + end},
                      .weights = {example.weights.begin() + from, example.weights.begin() + end}});
  }
  return pieces;
}

}  // namespace assay
