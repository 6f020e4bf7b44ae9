#include "assay/model/masked_ops.h"

#include <ATen/ATen.h>

#include "assay/model/fused/fused.h"
#include "assay/model/ops.h"
#include "assay/model/reference_ops.h"

namespace assay::masked {
namespace {

bool has_kernels(const Tensor& x) { return x.device().is_cpu() && x.scalar_type() == at::kFloat; }

Tensor factors_like(const RowScale& scale, const Tensor& v) { return scale.dense().to(v.options()).view(v.sizes()); }

/// `value` as it is, and the gradient of `through`, which must have its shape.
Tensor with_gradient_of(const Tensor& value, const Tensor& through) { return value + (through - through.detach()); }

Tensor detached(const Tensor& t) { return t.defined() ? t.detach() : t; }

Tensor plain_norm(const Tensor& x, const Tensor& w, const Tensor& b, const ModelConfig& config) {
  return config.norm == Norm::rms ? ops::rms_norm(x, w, config.norm_eps) : ops::layer_norm(x, w, b, config.norm_eps);
}

}  // namespace

Tensor mask_gradient(const Tensor& v, const RowScale& scale) {
  if (!scale) return v;
  if (has_kernels(v)) return fused::mask_gradient(v, scale);
  if (!v.requires_grad()) return v;
  Tensor beyond = v.view_as(v);
  beyond.register_hook([factors = factors_like(scale, v)](const Tensor& gradient) { return gradient * factors; });
  return beyond;
}

Tensor l1_gradient(const Tensor& v, double weight) {
  if (!v.requires_grad()) return v;
  Tensor beyond = v.view_as(v);
  beyond.register_hook([value = v.detach(), weight](const Tensor& gradient) { return gradient.add(value.sign(), weight); });
  return beyond;
}

Tensor gate(const Tensor& v, const RowScale& scale) {
  if (!scale) return v;
  return has_kernels(v) ? fused::gate(v, scale) : v * factors_like(scale, v);
}

Tensor linear(const Tensor& x, const Tensor& W, const Tensor& b, Precision precision, const Tensor& residual, const RowScale& columns,
              const RowScale& bias) {
  if (!columns && !bias) return ops::linear(x, W, b, precision, residual);
  if (has_kernels(x) && has_kernels(W) && x.dim() == 2) return fused::linear(x, W, b, precision, residual, columns, bias);
  Tensor y = ops::linear(x, columns ? W.detach() : W, bias ? detached(b) : b, precision, residual);
  if (columns) y = with_gradient_of(y, ops::linear(x.detach() * factors_like(columns, x), W, {}, precision));
  if (bias && b.defined()) y = with_gradient_of(y, b * factors_like(bias, y.detach()));
  return y;
}

std::vector<Tensor> linear_many(const Tensor& x, std::span<const Tensor> W, std::span<const Tensor> b, Precision precision,
                                const RowScale& rows) {
  if (!rows) return ops::linear_many(x, W, b, precision);
  const Tensor factors = rows.dense().to(x.options());
  std::vector<Tensor> outputs;
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < W.size(); ++i) {
    const auto out = W[i].size(0);
    const Tensor value = ops::linear(x, W[i].detach(), detached(b[i]), precision);
    Tensor through = ops::linear(x.detach(), W[i], b[i], precision);
    if (through.requires_grad())
      through.register_hook([f = factors.narrow(1, begin, out)](const Tensor& gradient) { return gradient * f; });
    outputs.push_back(with_gradient_of(value, through));
    begin += out;
  }
  return outputs;
}

Tensor norm(const Tensor& x, const Tensor& w, const Tensor& b, const ModelConfig& config, const RowScale& scale) {
  if (!scale) return plain_norm(x, w, b, config);
  if (has_kernels(x)) return fused::norm(config.norm, x, w, b, config.norm_eps, scale);
  const Tensor value = plain_norm(x, w.detach(), detached(b), config);
  return with_gradient_of(value, mask_gradient(plain_norm(x.detach(), w, b, config), scale));
}

Tensor weighted_cross_entropy(const Tensor& hidden, const Tensor& W_U, std::span<const std::int32_t> targets,
                              std::span<const float> weights, Precision precision, const RowScale& unembed) {
  if (!unembed) return ops::weighted_cross_entropy(hidden, W_U, targets, weights, precision);
  if (has_kernels(hidden)) return fused::weighted_cross_entropy(hidden, W_U, targets, weights, precision, unembed);
  const Tensor value = reference::weighted_cross_entropy(hidden, W_U.detach(), targets, weights, precision);
  // A row's part in dW_U is a multiple of its weight in the loss.
  const Tensor factors = unembed.dense().select(1, 0).contiguous();  // on the CPU
  std::vector<float> scaled(weights.begin(), weights.end());
  for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] *= factors.data_ptr<float>()[i];
  return with_gradient_of(value, reference::weighted_cross_entropy(hidden.detach(), W_U, targets, scaled, precision));
}

}  // namespace assay::masked
