#pragma once
#include "assay/model/gradient_masks.h"
#include "assay/model/transformer.h"

/// Operations of ops.h under gradient masks. f32 on the CPU runs in the kernels. Every other device and dtype is composed: an operation is
/// done with its parameters detached, and once more for the parameters alone, value minus the same value, whose gradient can then be scaled
/// by token. This is also the reference that the kernels are tested against.
namespace assay::masked {

/// v, with the gradient that arrives at it multiplied by the factors. v [n, ...] with as many elements a row as the table has units; an
/// empty scale returns v.
Tensor mask_gradient(const Tensor& v, const RowScale& scale);
/// v, with weight * sign(v) added to the gradient that arrives at it: that of an L1 penalty, which need not be part of the loss.
Tensor l1_gradient(const Tensor& v, double weight);
/// v times the factors, in both directions.
Tensor gate(const Tensor& v, const RowScale& scale);

/// x W^T + b + residual. `columns`: of tokens in the gradients of W's columns; `bias`: in that of b.
Tensor linear(const Tensor& x, const Tensor& W, const Tensor& b, Precision precision, const Tensor& residual, const RowScale& columns,
              const RowScale& bias);
/// Several products of one input; `rows`: of tokens in the gradients of the matrices' rows and of the biases, one behind the other.
std::vector<Tensor> linear_many(const Tensor& x, std::span<const Tensor> W, std::span<const Tensor> b, Precision precision,
                                const RowScale& rows);
/// rms or layer norm. `scale`: of tokens in the gradients of w and b.
Tensor norm(const Tensor& x, const Tensor& w, const Tensor& b, const ModelConfig& config, const RowScale& scale);
/// ops::weighted_cross_entropy. `unembed`: of rows of hidden in the gradient of W_U.
Tensor weighted_cross_entropy(const Tensor& hidden, const Tensor& W_U, std::span<const std::int32_t> targets,
                              std::span<const float> weights, Precision precision, const RowScale& unembed);

}  // namespace assay::masked
