#pragma once
#include "assay/base/toml.h"
#include "assay/model/config.h"
#include "assay/text/tokenizer.h"

namespace assay::routing {

/// A model for a corpus out of a recipe's section: family (gpt_neo, the default; llama, gpt2), n_layers = 4, d_model = 128, n_heads = 4,
/// d_mlp = 4 d_model, n_ctx = 256, local_window = 0 (of every second layer), tied_embeddings = true, initializer_range = 0.8 /
/// sqrt(d_model) (as TransformerLens draws them, and so the published runs).
ModelConfig model_shape_from(const TomlTable& section, const Tokenizer& tokenizer, TokenId bos);

}  // namespace assay::routing
