#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "assay/model/stored_weights.h"

namespace assay {

/// MODEL+ADAPTER: the two folders, split at the last '+' whose right side has an adapter_config.json; nothing where `path` names no
/// adapter.
std::optional<std::pair<std::filesystem::path, std::filesystem::path>> split_adapter(const std::filesystem::path& path);

/// `base` with a PEFT LoRA folder (adapter_config.json, adapter_model.safetensors) added to its matrices: W + scale · B A, with A [r, in],
/// B [out, r] and scale alpha / r, or alpha / sqrt(r) with use_rslora (Hu et al., arXiv 2106.09685; Kalajdzievski, arXiv 2312.03732); with
/// use_dora its rows take the lengths of lora_magnitude_vector [out] (Liu et al., arXiv 2402.09353).
/// What it cannot merge (another peft_type, biases, saved modules, ranks or alphas by pattern) and what does not fit the model are
/// Errors that name the file and the tensor.
TensorSource with_adapter(TensorSource base, const std::filesystem::path& adapter);

}  // namespace assay
