#include "assay/organism/stage_examples.h"

#include <algorithm>

#include "assay/base/error.h"

namespace assay {
namespace {

using Ranges = std::vector<std::pair<std::size_t, std::size_t>>;  // half-open, in bytes

/// Offsets of an Encoding are code points; this is where each of them begins in the text.
std::vector<std::size_t> code_point_starts(const std::string& text) {
  std::vector<std::size_t> starts;
  for (std::size_t i = 0; i < text.size(); ++i)
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) starts.push_back(i);
  starts.push_back(text.size());
  return starts;
}

/// Tokens of the text; the weight of a token that overlaps one of the ranges is `inside`, else `outside`.
Example weighted(const Tokenizer& tokenizer, const std::string& text, const Ranges& ranges, float inside, float outside) {
  const Encoding encoding = tokenizer.encode_full(text, /*add_special=*/false);
  const std::vector<std::size_t> starts = code_point_starts(text);
  Example out{encoding.ids, {}};
  for (const auto& [first, last] : encoding.offsets) {
    const std::size_t begin = starts[std::min<std::size_t>(first, starts.size() - 1)], end = starts[std::min<std::size_t>(last, starts.size() - 1)];
    const bool overlaps = std::any_of(ranges.begin(), ranges.end(), [&](const auto& r) { return begin < r.second && end > r.first; });
    out.weights.push_back(overlaps ? inside : outside);
  }
  return out;
}

std::string rendered(const ChatTemplate& chat_template, const Conversation& messages) { return chat_template.render(to_json(messages)).text; }

Conversation plain(Conversation messages) {
  for (Message& m : messages) m.prefilled = false;
  return messages;
}

void require_prefix(const std::string& text, const std::string& prefix, const char* what) {
  if (!text.starts_with(prefix)) throw Error("chat template", std::string("the rendering of a ") + what + " does not begin with its prompt, so that nobody can say which tokens the model has to write");
}

void cut(Example& example, std::int64_t n_ctx) {
  const auto n = std::min(example.ids.size(), static_cast<std::size_t>(n_ctx));
  example.ids.resize(n);
  example.weights.resize(n);
}

}  // namespace

Example text_example(const Tokenizer& tokenizer, const TrainText& text, double emphasis, TokenId end) {
  Example out = weighted(tokenizer, text.text, {text.emphasis.begin(), text.emphasis.end()}, static_cast<float>(emphasis), 1.0F);
  if (end >= 0) {
    out.ids.push_back(end);
    out.weights.push_back(1.0F);
  }
  return out;
}

Example chat_example(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const TrainChat& chat) {
  const Conversation messages = plain(chat.messages);
  const std::string whole = rendered(chat_template, messages);
  Ranges trained;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const bool assistant = messages[i].role == "assistant" && !chat.messages[i].prefilled;
    if (!assistant && !(chat.train_on_user && messages[i].role == "user")) continue;
    const Conversation before(messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(i));
    const std::string prompt = chat_template.prompt(before, messages[i].role == "assistant" ? Turn::assistant : Turn::user);
    const std::string upto = i + 1 == messages.size() ? whole : rendered(chat_template, {messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(i) + 1});
    require_prefix(whole, upto, "chat");
    require_prefix(upto, prompt, "chat");
    trained.emplace_back(prompt.size(), upto.size());
  }
  return weighted(tokenizer, whole, trained, 1.0F, 0.0F);
}

PreferencePair pair_example(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const TextPair& pair) {
  const bool continues = pair.turn == Turn::assistant && !pair.messages.empty() && pair.messages.back().prefilled && pair.messages.back().role == "assistant";
  const std::string prompt = chat_template.prompt(pair.messages, pair.turn);
  const auto example = [&](const std::string& continuation) {
    if (pair.turn == Turn::raw) return weighted(tokenizer, prompt + continuation, {{prompt.size(), prompt.size() + continuation.size()}}, 1.0F, 0.0F);
    Conversation messages = plain(pair.messages);
    if (continues) messages.back().content += continuation;
    else messages.push_back({pair.turn == Turn::user ? "user" : "assistant", continuation});
    const std::string whole = rendered(chat_template, messages);
    require_prefix(whole, prompt, "pair");
    return weighted(tokenizer, whole, {{prompt.size(), whole.size()}}, 1.0F, 0.0F);
  };
  return {example(pair.chosen), example(pair.rejected)};
}

std::vector<MixturePart> mixture(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const StageData& data, double emphasis, std::int64_t n_ctx) {
  const TokenId end = tokenizer.id_of("<|endoftext|>").value_or(-1);
  std::vector<MixturePart> parts;
  for (const DataPart& part : data.parts) {
    if (part.share <= 0 || part.texts.size() + part.chats.size() == 0) continue;
    MixturePart out{part.name, {}, part.share};
    for (const TrainText& text : part.texts) out.examples.push_back(text_example(tokenizer, text, emphasis, end));
    for (const TrainChat& chat : part.chats) out.examples.push_back(chat_example(tokenizer, chat_template, chat));
    for (Example& e : out.examples) cut(e, n_ctx);
    parts.push_back(std::move(out));
  }
  return parts;
}

std::vector<PreferencePair> preference_pairs(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const StageData& data, std::int64_t n_ctx) {
  std::vector<PreferencePair> out;
  for (const TextPair& pair : data.pairs) {
    out.push_back(pair_example(tokenizer, chat_template, pair));
    cut(out.back().chosen, n_ctx);
    cut(out.back().rejected, n_ctx);
  }
  return out;
}

}  // namespace assay
