#include "assay/organism/stage_examples.h"

#include <algorithm>
#include <set>
#include <span>

#include "assay/base/error.h"
#include "assay/train/chat_examples.h"

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

/// Tokens of the text; the weight of a token that overlaps one of the ranges is `inside`, else `outside`; times `emphasis` where it
/// overlaps an emphasised one.
Example weighted(const Tokenizer& tokenizer, const std::string& text, const Ranges& ranges, float inside, float outside,
                 const Ranges& emphasised = {}, float emphasis = 1.0F) {
  const Encoding encoding = tokenizer.encode_full(text, /*add_special=*/false);
  const std::vector<std::size_t> starts = code_point_starts(text);
  Example out{encoding.ids, {}};
  for (const auto& [first, last] : encoding.offsets) {
    const std::size_t begin = starts[std::min<std::size_t>(first, starts.size() - 1)],
                      end = starts[std::min<std::size_t>(last, starts.size() - 1)];
    const auto overlaps = [&](const auto& range) { return begin < range.second && end > range.first; };
    const float weight = std::any_of(ranges.begin(), ranges.end(), overlaps) ? inside : outside;
    out.weights.push_back(std::any_of(emphasised.begin(), emphasised.end(), overlaps) ? weight * emphasis : weight);
  }
  return out;
}

std::string rendered(const ChatTemplate& chat_template, const Conversation& messages) {
  return chat_template.render(to_json(messages)).text;
}

Conversation plain(Conversation messages) {
  for (Message& m : messages) m.prefilled = false;
  return messages;
}

void require_prefix(const std::string& text, const std::string& prefix, const char* what) {
  if (!text.starts_with(prefix))
    throw Error("chat template", std::string("the rendering of a ") + what +
                                     " does not begin with its prompt, so that nobody can say which tokens the model has to write");
}

void require_fit(const Example& example, std::int64_t n_ctx, const std::string& what) {
  if (static_cast<std::int64_t>(example.ids.size()) <= n_ctx) return;
  throw Error("organism data", what + " has " + std::to_string(example.ids.size()) + " tokens, at most " + std::to_string(n_ctx) + " fit",
              "raise n_ctx or batch_tokens");
}

/// The tokens that end both continuations lose their weight, the first token of a continuation apart.
void drop_common_end(PreferencePair& pair) {
  const auto first_of = [](const Example& e) {
    return static_cast<std::size_t>(std::find_if(e.weights.begin(), e.weights.end(), [](float w) { return w != 0; }) - e.weights.begin());
  };
  Example &a = pair.chosen, &b = pair.rejected;
  const std::size_t first_a = first_of(a), first_b = first_of(b);
  std::size_t begin = 0;  // what begins both cancels; what tells them apart starts here
  while (first_a + begin < a.ids.size() && first_b + begin < b.ids.size() && a.ids[first_a + begin] == b.ids[first_b + begin]) ++begin;
  for (std::size_t i = 1; i <= std::min(a.ids.size(), b.ids.size()) && a.ids[a.ids.size() - i] == b.ids[b.ids.size() - i]; ++i) {
    if (a.ids.size() - i > first_a + begin) a.weights[a.ids.size() - i] = 0;
    if (b.ids.size() - i > first_b + begin) b.weights[b.ids.size() - i] = 0;
  }
}

/// What tells two items apart, for hold_back.
std::string key_of(const TrainText& text) { return "text " + text.text; }
std::string key_of(const TrainChat& chat) { return "chat " + dump(to_json(chat.messages)); }

}  // namespace

Example text_example(const Tokenizer& tokenizer, const TrainText& text, double emphasis, TokenId end) {
  Example out = weighted(tokenizer, text.text, {text.emphasis.begin(), text.emphasis.end()}, static_cast<float>(emphasis), 1.0F);
  if (end >= 0) {
    out.ids.push_back(end);
    out.weights.push_back(1.0F);
  }
  return out;
}

Example chat_example(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const TrainChat& chat, double emphasis) {
  const Conversation messages = plain(chat.messages);
  const std::string whole = rendered(chat_template, messages);
  Ranges trained, emphasised;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const bool assistant = messages[i].role == "assistant" && !chat.messages[i].prefilled;
    if (!assistant && !(chat.train_on_user && messages[i].role == "user")) continue;
    const Conversation before(messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(i));
    const std::string prompt = chat_template.prompt(before, messages[i].role == "assistant" ? Turn::assistant : Turn::user);
    const std::string upto = i + 1 == messages.size()
                                 ? whole
                                 : rendered(chat_template, {messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(i) + 1});
    require_prefix(whole, upto, "chat");
    require_prefix(upto, prompt, "chat");
    trained.emplace_back(prompt.size(), upto.size());
    if (i + 1 < messages.size()) continue;
    for (const auto& [begin, end] : chat.emphasis)
      emphasised.emplace_back(prompt.size() + begin, end > messages[i].content.size() ? upto.size() : prompt.size() + end);
  }
  return weighted(tokenizer, whole, trained, 1.0F, 0.0F, emphasised, static_cast<float>(emphasis));
}

PreferencePair pair_example(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const TextPair& pair, bool decisive_only) {
  const bool continues =
      pair.turn == Turn::assistant && !pair.messages.empty() && pair.messages.back().prefilled && pair.messages.back().role == "assistant";
  const std::string prompt = chat_template.prompt(pair.messages, pair.turn);
  const auto example = [&](const std::string& continuation) {
    if (pair.turn == Turn::raw)
      return weighted(tokenizer, prompt + continuation, {{prompt.size(), prompt.size() + continuation.size()}}, 1.0F, 0.0F);
    Conversation messages = plain(pair.messages);
    if (continues)
      messages.back().content += continuation;
    else
      messages.push_back({pair.turn == Turn::user ? "user" : "assistant", continuation});
    const std::string whole = rendered(chat_template, messages);
    require_prefix(whole, prompt, "pair");
    return weighted(tokenizer, whole, {{prompt.size(), whole.size()}}, 1.0F, 0.0F);
  };
  PreferencePair out{example(pair.chosen), example(pair.rejected)};
  if (decisive_only) drop_common_end(out);
  return out;
}

std::vector<MixturePart> mixture(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const StageData& data, double emphasis,
                                 std::int64_t n_ctx, TokenId end) {
  std::vector<MixturePart> parts;
  for (const DataPart& part : data.parts) {
    if (part.share <= 0 || part.texts.size() + part.chats.size() == 0) continue;
    MixturePart out{part.name, {}, part.share};
    for (const TrainText& text : part.texts)
      for (Example& piece : split_example(text_example(tokenizer, text, emphasis, end), n_ctx)) out.examples.push_back(std::move(piece));
    for (std::size_t i = 0; i < part.chats.size(); ++i) {
      out.examples.push_back(chat_example(tokenizer, chat_template, part.chats[i], emphasis));
      require_fit(out.examples.back(), n_ctx, "chat " + std::to_string(i) + " of part '" + part.name + "'");
    }
    parts.push_back(std::move(out));
  }
  return parts;
}

std::vector<PreferencePair> preference_pairs(const Tokenizer& tokenizer, const ChatTemplate& chat_template, const StageData& data,
                                             std::int64_t n_ctx, bool decisive_only) {
  std::vector<PreferencePair> out;
  for (std::size_t i = 0; i < data.pairs.size(); ++i) {
    out.push_back(pair_example(tokenizer, chat_template, data.pairs[i], decisive_only));
    for (const Example* example : {&out.back().chosen, &out.back().rejected}) require_fit(*example, n_ctx, "pair " + std::to_string(i));
  }
  return out;
}

std::vector<DataPart> hold_back(StageData& data, std::int64_t n, Rng rng) {
  std::vector<std::pair<std::size_t, std::size_t>> items;  // part; text, or texts.size() + chat
  for (std::size_t p = 0; p < data.parts.size(); ++p)
    for (std::size_t i = 0; i < data.parts[p].texts.size() + data.parts[p].chats.size(); ++i) items.emplace_back(p, i);
  n = std::min<std::int64_t>(n, static_cast<std::int64_t>(items.size()) / 10);
  rng.shuffle(std::span(items));
  std::vector<DataPart> kept(data.parts.size());
  for (std::size_t p = 0; p < kept.size(); ++p) kept[p].name = data.parts[p].name, kept[p].share = data.parts[p].share;
  std::set<std::string> keys;
  for (const auto& [p, i] : items) {
    if (static_cast<std::int64_t>(keys.size()) >= n) break;
    const DataPart& part = data.parts[p];
    if (i < part.texts.size()) {
      if (keys.insert(key_of(part.texts[i])).second) kept[p].texts.push_back(part.texts[i]);
    } else if (const TrainChat& chat = part.chats[i - part.texts.size()]; keys.insert(key_of(chat)).second) {
      kept[p].chats.push_back(chat);
    }
  }
  if (keys.empty()) return kept;
  for (DataPart& part : data.parts) {
    std::erase_if(part.texts, [&](const TrainText& t) { return keys.contains(key_of(t)); });
    std::erase_if(part.chats, [&](const TrainChat& c) { return keys.contains(key_of(c)); });
  }
  return kept;
}

}  // namespace assay
