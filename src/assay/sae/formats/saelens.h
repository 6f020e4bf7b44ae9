#pragma once
#include <filesystem>

#include "assay/sae/sae.h"

namespace assay {

/// Writes SAELens' folder (version 6): cfg.json and sae_weights.safetensors, f32. A folder that is there is written into.
void save_saelens(const std::filesystem::path& folder, const Sae& sae);
/// Reads one, of the architectures topk, standard and jumprelu (batchtopk exports itself as jumprelu). Decoder norms that the activations
/// are rescaled by are folded. Errors name file and field: another architecture, a normalisation of the activations, shapes that do not
/// fit.
Sae load_saelens(const std::filesystem::path& folder);

}  // namespace assay
