#pragma once
#include "assay/tensor/tensor.h"

namespace assay::families {

/// Rows of each head from adjacent rotary pairs (ggml, llama2.c) to pairs half a head apart (transformers). [heads * d_head, ...]
Tensor half_split(const Tensor& rows, std::int64_t heads);

}  // namespace assay::families
