#pragma once
#include <functional>
#include <string>
#include <vector>

#include "assay/model/config.h"
#include "assay/model/transformer.h"

namespace assay::llama {

/// A parameter: its Hugging Face name, the tensor of the weights, the shape that the config asks for.
struct Slot {
  std::string name;
  Tensor* tensor;
  std::vector<std::int64_t> shape;
};
/// Every parameter of the family in a fixed order, those that the config leaves out left out. `weights.blocks` must hold n_layers blocks.
std::vector<Slot> slots(const ModelConfig& config, Weights& weights);

/// Rows of each head from adjacent rotary pairs (ggml, llama2.c) to pairs half a head apart (transformers). [heads * d_head, ...]
Tensor half_split(const Tensor& rows, std::int64_t heads);

}  // namespace assay::llama
