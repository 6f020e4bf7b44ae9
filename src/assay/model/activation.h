#pragma once

namespace assay {

/// What an MLP does between its matrices. gelu_tanh is the approximation of GPT-2 (Hendrycks & Gimpel 2016).
enum class Activation { silu, gelu, gelu_tanh, relu };

}  // namespace assay
