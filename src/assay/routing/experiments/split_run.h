#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include "assay/base/json.h"
#include "assay/base/progress.h"
#include "assay/model/transformer.h"
#include "assay/routing/experiments/idx_images.h"
#include "assay/routing/experiments/split_settings.h"

namespace assay::routing {

/// What the pictures of a run show, a row of ten digits each.
inline const std::vector<std::string> kPictureRows = {"image",    "autoencoder",         "bottom half",
                                                      "top half", "bottom half, afresh", "top half, afresh"};

/// What a run is and depends on: a folder is gone on with only if it says the same.
Json split_identity(const SplitSetting& setting, const SplitOptions& options, const ImageData& data, Precision precision);

/// Trains one setting with one seed on one thread's work, then stronger decoders afresh on the two frozen halves, and measures all on the
/// test set, on `device`. `folder` gets checkpoint.safetensors while the autoencoder is trained, then model.safetensors,
/// pictures-idx3-ubyte and, last, run.json, which is returned; what is there already is not done again. Stopped, it saves where it stands
/// and throws Interrupted.
Json run_split(const SplitSetting& setting, const SplitOptions& options, const ImageData& data, Precision precision,
               const std::filesystem::path& folder, Progress& progress, c10::Device device = c10::kCPU);

}  // namespace assay::routing
