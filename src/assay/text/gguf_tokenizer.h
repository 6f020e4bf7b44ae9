#pragma once
#include <optional>
#include <string>

#include "assay/base/json.h"
#include "assay/text/chat_template.h"

namespace assay {

/// A tokenizer.json that does what the tokenizer inside a GGUF file does. `gguf_metadata`: the file's key-value pairs
/// ("tokenizer.ggml.tokens", ...). Byte-level BPE ("gpt2") with the pre-tokenizers gpt-2, smollm, llama-bpe and qwen2, and SentencePiece
/// BPE ("llama", merges by score, byte fallback). An Error names what is missing or not known.
std::string tokenizer_json_from_gguf(const Json& gguf_metadata);

/// The file's chat template ("tokenizer.chat_template") and its special tokens; nullopt where it has none.
std::optional<ChatTemplate> chat_template_from_gguf(const Json& gguf_metadata);
/// Its special tokens alone ("tokenizer.ggml.bos_token_id", ...).
SpecialTokens special_tokens_from_gguf(const Json& gguf_metadata);

}  // namespace assay
