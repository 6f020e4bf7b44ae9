#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "assay/model/config.h"
#include "assay/model/transformer.h"

namespace assay {

/// A parameter, the shape that the config asks for, and where Hugging Face's files have it.
struct Slot {
  std::string name;  ///< Hugging Face's name; where one stored tensor holds several parameters, followed by the part's (".q")
  Tensor* tensor;
  std::vector<std::int64_t> shape;
  std::string stored = {};  ///< name of the tensor in files; empty: `name`. Neighbours that share it are stacked along their first axis
  bool transposed = false;  ///< stored [in, out], the stack as a whole
  [[nodiscard]] const std::string& file_name() const { return stored.empty() ? name : stored; }
  [[nodiscard]] bool is_bias() const { return file_name().ends_with(".bias"); }
};

/// What a family of decoders is outside the forward pass: what its config.json says and what its tensors are called, both ways.
struct Family {
  std::string_view name;  ///< model_type in config.json
  std::string_view base;  ///< what begins the names of tensors below the unembedding; files of the model without its head leave it out
  /// What all members share; sizes are 0.
  ModelConfig (*defaults)();
  ModelConfig (*config)(const Json& hf, std::string_view where);
  Json (*to_hf)(const ModelConfig& config);
  /// Every parameter in a fixed order, those that the config leaves out left out. `weights.blocks` must hold n_layers blocks.
  std::vector<Slot> (*slots)(const ModelConfig& config, Weights& weights);
  /// Does a file hold this because older versions stored buffers that the config determines?
  bool (*is_buffer)(std::string_view name);
};

namespace families {
extern const Family kLlama, kGpt2, kGptNeo;
}

/// By model_type; an unknown one is an Error that lists what there is.
const Family& family(std::string_view name, std::string_view where);

}  // namespace assay
