#include "assay/text/gguf_tokenizer.h"

#include <algorithm>
#include <tuple>
#include <unordered_map>

#include "assay/text/tokenizer_json.h"
#include "assay/text/unicode.h"

namespace assay {

namespace {

constexpr const char* kWhere = "GGUF metadata";

// tokenizer.ggml.token_type
enum TokenType { kUnknown = 2, kControl = 3, kUserDefined = 4 };

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json sequence(const char* key, Json items) { return {{"type", "Sequence"}, {key, std::move(items)}}; }

/// The split of cl100k-style tokenizers; `digits`: how many numerals make one piece at most.
Json split_then_bytes(const std::string& digits) {
  const std::string regex =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)" + digits + R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  Json split = {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
  return sequence("pretokenizers", Json::array({split, byte_level(false)}));
}

/// What "tokenizer.ggml.pre" means.
void set_pre_tokenizer(const std::string& pre, TokenizerJson& out) {
  if (pre == "smollm") {
    // "smollm" splits at every numeral, then as GPT-2 does.
    out.pre_tokenizer = sequence("pretokenizers", Json::array({{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)}));
  } else if (pre.empty() || pre == "default" || pre == "gpt-2" || pre == "olmo" || pre == "phi-2" || pre == "jais") {
    out.pre_tokenizer = byte_level(true);
  } else if (pre == "llama-bpe" || pre == "llama3" || pre == "llama-v3") {
    out.pre_tokenizer = split_then_bytes(R"(\p{N}{1,3})");
  } else if (pre == "qwen2") {
    out.normalizer = {{"type", "NFC"}};
    out.pre_tokenizer = split_then_bytes(R"(\p{N})");
  } else {
    throw Error("tokenizer build", std::string(kWhere) + ": the pre-tokenizer '" + pre + "' is not known",
                "known are gpt-2, smollm, llama-bpe, qwen2; use the model's own tokenizer.json");
  }
}

std::pair<std::string, std::string> split_merge(const std::string& merge) {
  const std::size_t blank = merge.find(' ', 1);
  if (blank == std::string::npos) throw Error("tokenizer build", std::string(kWhere) + ": the merge '" + merge + "' is not two tokens");
  return {merge.substr(0, blank), merge.substr(blank + 1)};
}

/// SentencePiece's BPE joins the pair whose result scores best; as a list of merges: every way to split a piece in two pieces, best result
/// first (the order of Hugging Face's own conversion of such vocabularies).
std::vector<std::pair<std::string, std::string>> merges_by_score(const std::vector<std::string>& tokens, const std::vector<float>& scores) {
  struct Merge {
    float score;
    std::size_t left_length, right_length, left, right;
  };
  std::unordered_map<std::string_view, std::size_t> ids;
  for (std::size_t id = 0; id < tokens.size(); ++id) ids.emplace(tokens[id], id);
  std::vector<Merge> all;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const std::string_view token = tokens[id];
    if (token.size() > 1024) continue;  // no real piece is that long, and the work is quadratic
    std::vector<Merge> local;
    for (std::size_t cut = 1; cut < token.size(); ++cut) {
      if ((static_cast<unsigned char>(token[cut]) & 0xC0U) == 0x80U) continue;
      const auto left = ids.find(token.substr(0, cut)), right = ids.find(token.substr(cut));
      if (left == ids.end() || right == ids.end()) continue;
      local.push_back({scores[id], code_points(left->first), code_points(right->first), left->second, right->second});
    }
    std::ranges::sort(local, {}, [](const Merge& m) { return std::pair(m.left, m.right); });
    all.insert(all.end(), local.begin(), local.end());
  }
  std::ranges::stable_sort(all, std::greater<>{}, [](const Merge& m) { return std::tuple(m.score, m.left_length, m.right_length); });
  std::vector<std::pair<std::string, std::string>> result;
  result.reserve(all.size());
  for (const Merge& m : all) result.emplace_back(tokens[m.left], tokens[m.right]);
  return result;
}

void byte_level_bpe(const Json& metadata, TokenizerJson& out) {
  set_pre_tokenizer(value_or<std::string>(metadata, "tokenizer.ggml.pre", "", kWhere), out);
  out.model = {
      {"type", "BPE"},     {"dropout", nullptr},     {"unk_token", nullptr},  {"continuing_subword_prefix", ""}, {"end_of_word_suffix", ""},
      {"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", false}};
  for (const auto& merge : require<std::vector<std::string>>(metadata, "tokenizer.ggml.merges", kWhere))
    out.merges.push_back(split_merge(merge));
  out.decoder = byte_level(true);
  out.post_processor = byte_level(true);
}

void sentencepiece_bpe(const Json& metadata, TokenizerJson& out) {
  const auto scores = require<std::vector<float>>(metadata, "tokenizer.ggml.scores", kWhere);
  if (scores.size() != out.tokens.size()) throw Error("tokenizer build", std::string(kWhere) + ": as many scores as tokens were expected");
  const auto unknown = value_or<std::size_t>(metadata, "tokenizer.ggml.unknown_token_id", 0, kWhere);
  if (unknown >= out.tokens.size()) throw Error("tokenizer build", std::string(kWhere) + ": unknown_token_id is outside the vocabulary");
  out.model = {{"type", "BPE"},
               {"dropout", nullptr},
               {"unk_token", out.tokens[unknown]},
               {"continuing_subword_prefix", nullptr},
               {"end_of_word_suffix", nullptr},
               {"fuse_unk", true},
               {"byte_fallback", true},
               {"ignore_merges", false}};
  out.merges = merges_by_score(out.tokens, scores);
  const std::string blank = "\xE2\x96\x81";  // U+2581
  const bool prefix = value_or<bool>(metadata, "tokenizer.ggml.add_space_prefix", true, kWhere);
  Json normalizers = Json::array();
  if (prefix) normalizers.push_back({{"type", "Prepend"}, {"prepend", blank}});
  normalizers.push_back(replace_text(" ", blank));
  out.normalizer = sequence("normalizers", normalizers);
  Json decoders = Json::array({replace_text(blank, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
  if (prefix) decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  out.decoder = sequence("decoders", decoders);
}

/// Puts the begin-of-text token before every text.
Json begin_with(const std::string& token, std::size_t id) {
  const Json special = {{"SpecialToken", {{"id", token}, {"type_id", 0}}}};
  const auto text = [](const char* which, int type) { return Json{{"Sequence", {{"id", which}, {"type_id", type}}}}; };
  return {{"type", "TemplateProcessing"},
          {"single", Json::array({special, text("A", 0)})},
          {"pair", Json::array({special, text("A", 0), text("B", 1)})},
          {"special_tokens", {{token, {{"id", token}, {"ids", Json::array({id})}, {"tokens", Json::array({token})}}}}}};
}

}  // namespace

std::string tokenizer_json_from_gguf(const Json& gguf_metadata) {
  TokenizerJson out;
  const auto model = require<std::string>(gguf_metadata, "tokenizer.ggml.model", kWhere);
  out.tokens = require<std::vector<std::string>>(gguf_metadata, "tokenizer.ggml.tokens", kWhere);
  const bool sentencepiece = model == "llama";
  if (model == "gpt2") {
    byte_level_bpe(gguf_metadata, out);
  } else if (sentencepiece) {
    sentencepiece_bpe(gguf_metadata, out);
  } else {
    throw Error("tokenizer build", std::string(kWhere) + ": the tokenizer model '" + model + "' is not supported", "gpt2 and llama are");
  }
  const auto types = value_or<std::vector<int>>(gguf_metadata, "tokenizer.ggml.token_type", {}, kWhere);
  if (!types.empty() && types.size() != out.tokens.size())
    throw Error("tokenizer build", std::string(kWhere) + ": as many token types as tokens were expected");
  for (std::size_t id = 0; id < types.size(); ++id) {
    if (types[id] == kControl || types[id] == kUserDefined || types[id] == kUnknown)
      out.added.push_back({id, out.tokens[id], types[id] != kUserDefined});
  }
  const std::string pre = value_or<std::string>(gguf_metadata, "tokenizer.ggml.pre", "", kWhere);
  if (value_or<bool>(gguf_metadata, "tokenizer.ggml.add_bos_token", sentencepiece || pre.starts_with("llama"), kWhere)) {
    const auto id = require<std::size_t>(gguf_metadata, "tokenizer.ggml.bos_token_id", kWhere);
    if (id >= out.tokens.size()) throw Error("tokenizer build", std::string(kWhere) + ": bos_token_id is outside the vocabulary");
    out.post_processor = begin_with(out.tokens[id], id);
  }
  return to_text(out, kWhere);
}

SpecialTokens special_tokens_from_gguf(const Json& gguf_metadata) {
  const auto tokens = gguf_metadata.is_object() ? gguf_metadata.find("tokenizer.ggml.tokens") : gguf_metadata.end();
  const auto name = [&](const char* key) -> std::string {
    const auto id = value_or<std::size_t>(gguf_metadata, std::string("tokenizer.ggml.") + key, static_cast<std::size_t>(-1), kWhere);
    if (tokens == gguf_metadata.end() || !tokens->is_array() || id >= tokens->size() || !(*tokens)[id].is_string()) return {};
    return (*tokens)[id].get<std::string>();
  };
  return {.bos = name("bos_token_id"), .eos = name("eos_token_id"), .pad = name("padding_token_id"), .unk = name("unknown_token_id")};
}

std::optional<ChatTemplate> chat_template_from_gguf(const Json& gguf_metadata) {
  const auto source = value_or<std::string>(gguf_metadata, "tokenizer.chat_template", "", kWhere);
  if (source.empty()) return std::nullopt;
  return ChatTemplate(source, special_tokens_from_gguf(gguf_metadata));
}

}  // namespace assay
