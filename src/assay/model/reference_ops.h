#pragma once
#include "assay/model/ops.h"
#include "assay/model/transformer.h"

/// The operations of ops.h written as plain compositions of ATen calls, differentiated by autograd: what runs on devices and dtypes that
/// the kernels do not cover, and what the kernels are tested against (in f64). Same shapes and meaning as in ops.h.
namespace assay::reference {

Tensor embed(const Tensor& W_E, std::span<const std::int32_t> ids);
Tensor linear(const Tensor& x, const Tensor& W, const Tensor& b, Precision precision, const Tensor& residual = {});
/// x is converted once.
std::vector<Tensor> linear_many(const Tensor& x, std::span<const Tensor> W, std::span<const Tensor> b, Precision precision);
Tensor rms_norm(const Tensor& x, const Tensor& w, double eps);
Tensor layer_norm(const Tensor& x, const Tensor& w, const Tensor& b, double eps);
Tensor rope(const Tensor& x, const ops::RopeTable& rows);
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, std::span<const std::int64_t> offsets, ops::Scores scores,
                 Precision precision);
Tensor gated_activation(const Tensor& gate, const Tensor& up, Activation activation);
Tensor activation(const Tensor& x, Activation activation);
Tensor token_logprobs(const Tensor& hidden, const Tensor& W_U, std::span<const std::int32_t> targets, Precision precision);
Tensor weighted_cross_entropy(const Tensor& hidden, const Tensor& W_U, std::span<const std::int32_t> targets,
                              std::span<const float> weights, Precision precision);

}  // namespace assay::reference
