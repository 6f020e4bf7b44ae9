#pragma once
#include <filesystem>

#include "assay/text/chat_template.h"
#include "assay/text/tokenizer.h"

namespace assay::cli {

/// The tokenizer and the chat template of a MODEL without its weights: a folder (or its tokenizer.json), or a .gguf file.
Tokenizer load_tokenizer(const std::filesystem::path& model);
ChatTemplate load_chat_template(const std::filesystem::path& model);

}  // namespace assay::cli
