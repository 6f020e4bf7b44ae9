#pragma once
#include <string>
#include <string_view>

#include "assay/model/config.h"

/// Keys of config.json that several families share, both ways.
namespace assay::families {

constexpr std::int64_t kGpt2EndOfText = 50256;

/// bos, pad and eos (one id or several). An absent bos or eos is `absent` where that is in the vocabulary (transformers' default).
void read_special_ids(ModelConfig& config, const Json& hf, std::string_view where, std::int64_t absent = -1);
void write_special_ids(const ModelConfig& config, Json& hf);

Activation read_activation(const Json& hf, std::string_view key, std::string_view fallback, std::string_view where);
/// gelu_tanh has two names; `tanh_name` is the family's.
std::string activation_name(Activation activation, std::string_view tanh_name);

/// rope_parameters (transformers 5) or rope_theta with rope_scaling (4 and older).
RopeConfig read_rope(const Json& hf, std::string_view where);
void write_rope(const RopeConfig& rope, Json& hf);

/// d_model / n_heads; an Error where that is not whole.
std::int64_t even_heads(const ModelConfig& config, std::string_view where);
/// An Error where the key is there and is not `expected`.
void refuse_unless(const Json& hf, std::string_view key, bool expected, std::string_view where);

}  // namespace assay::families
