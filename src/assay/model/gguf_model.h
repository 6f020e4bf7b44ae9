#pragma once
#include <filesystem>

#include "assay/model/checkpoint.h"
#include "assay/tensor/gguf.h"

namespace assay {

/// A llama-shaped GGUF: metadata to ModelConfig, tensors under their ggml names (Q and K brought back from interleaved to half-split rotary order).
Transformer transformer_from_gguf(const GgufFile& file);
/// With the tokenizer and the chat template that stand in the metadata.
LanguageModel language_model_from_gguf(const std::filesystem::path& path);

}  // namespace assay
