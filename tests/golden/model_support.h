#pragma once
// What the golden tests of models share: loading, and the vectors' padded batches as sequences end to end.
#include <ATen/ATen.h>

#include "assay/model/config.h"
#include "assay/model/stored_weights.h"
#include "assay/model/transformer.h"
#include "assay/tensor/safetensors.h"
#include "support.h"

namespace assay::golden {

/// The weights of a Hugging Face folder under another config file.
inline Transformer load_folder(const fs::path& folder, const fs::path& config_file) {
  const ModelConfig config = config_from_hf(read_json(config_file), config_file.string());
  const SafetensorsFolder tensors(folder);
  return transformer_from(config, {folder.string(), tensors.names(), [&](const std::string& name) { return tensors.tensor(name); }});
}

/// Gradients by the names of the folder's tensors.
inline NamedTensors stored_gradients(const Transformer& model) {
  return stored_tensors(model, [](const Tensor& t) { return t.grad().defined() ? t.grad() : at::zeros_like(t); });
}

/// $ASSAY_SMOLLM2, or where the user's cache keeps it.
inline fs::path smollm2_folder() { return fetched_model("ASSAY_SMOLLM2", "smollm2-135m-instruct"); }

/// ids [B, T] (mask [B, T] or undefined) without what the mask leaves out, and where in the flattened [B*T] each token stands.
struct Unpadded {
  TokenBatch batch;
  std::vector<std::int64_t> places;
  [[nodiscard]] Tensor index() const { return at::tensor(places, at::kLong); }
};
inline Unpadded unpad(const Tensor& ids, const Tensor& mask = {}) {
  Unpadded result;
  for (std::int64_t row = 0; row < ids.size(0); ++row) {
    std::vector<std::int32_t> sequence;
    for (std::int64_t t = 0; t < ids.size(1); ++t) {
      if (mask.defined() && mask[row][t].item<std::int64_t>() == 0) continue;
      sequence.push_back(static_cast<std::int32_t>(ids[row][t].item<std::int64_t>()));
      result.places.push_back(row * ids.size(1) + t);
    }
    result.batch.add(sequence);
  }
  return result;
}

inline double largest_difference(const Tensor& a, const Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

}  // namespace assay::golden
