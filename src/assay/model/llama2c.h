#pragma once
#include <filesystem>
#include <string>

#include "assay/model/transformer.h"

namespace assay {

/// A checkpoint of llama2.c, in f32: the headerless first container (seven sizes, then weights) or version 1 ("ak42"). The size of the file
/// has to fit the sizes it states. Its rotary pairs are brought from adjacent to half a head apart. Source of the format: llama2.c's
/// export.py.
Transformer transformer_from_llama2c(const std::filesystem::path& path);

/// A tokenizer.json that does what llama2.c does with its tokenizer.bin: SentencePiece-like BPE by score, a blank put before the text,
/// bytes for what is not in the vocabulary, <s> in front. `d_vocab` pieces are expected.
std::string tokenizer_json_from_llama2c(const std::filesystem::path& path, std::int64_t d_vocab);

}  // namespace assay
