#pragma once
#include <filesystem>
#include <memory>

#include "assay/corpus/embedding_index.h"

namespace assay {

/// The encoder of a folder or file: a BERT sentence encoder's points as sentence-transformers makes them (config.json says "bert"), or, of
/// any language model, its own: the mean over a text's tokens of the residual stream after half of the blocks, in f32, centred. Texts are
/// cut to the model's context.
std::unique_ptr<Embedder> make_embedder(const std::filesystem::path& model);

}  // namespace assay
