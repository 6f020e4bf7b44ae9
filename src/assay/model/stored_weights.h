#pragma once
#include <filesystem>
#include <functional>
#include <set>
#include <string>

#include "assay/model/transformer.h"
#include "assay/tensor/safetensors.h"

namespace assay {

/// Where a model's tensors come from, by Hugging Face name.
struct TensorSource {
  std::string where;  ///< the file or folder, for errors
  std::set<std::string> names;
  std::function<Tensor(const std::string&)> get;  ///< any floating dtype
};

/// The weights that `config` asks for, as f32 copies. A missing tensor, a wrong shape, an integer dtype and a tensor that the config has no
/// place for (a bias, a block too many) are Errors that name the source and the tensor.
Transformer transformer_from(const ModelConfig& config, const TensorSource& source);

/// The other way: what files hold, by Hugging Face name, of what `pick` makes of each parameter (itself, another dtype, its gradient).
NamedTensors stored_tensors(const Transformer& model, const std::function<Tensor(const Tensor&)>& pick);

}  // namespace assay
