#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <string>

namespace assay {

using at::Tensor;
/// Tensors by name, sorted by name.
using NamedTensors = std::map<std::string, Tensor>;

}  // namespace assay
