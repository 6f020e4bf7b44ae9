#pragma once
#include "assay/model/checkpoint.h"
#include "assay/tensor/gguf.h"

namespace assay {

/// Configuration of a GGUF file of the architecture "llama"; another architecture or an unsupported option is an Error that names it.
ModelConfig config_from_gguf(const GgufFile& file);
/// Weights under Hugging Face's names and layout. llama.cpp stores Q and K with the rows of each head interleaved for its rope; they are
/// put back.
Transformer transformer_from_gguf(const GgufFile& file);
/// The same with the tokenizer and the chat template that stand in the metadata.
LanguageModel language_model_from_gguf(const GgufFile& file);

}  // namespace assay
