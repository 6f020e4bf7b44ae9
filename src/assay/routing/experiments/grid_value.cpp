#include "assay/routing/experiments/grid_value.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "assay/routing/experiments/grid_kernels.h"

namespace assay::routing {
namespace {
constexpr std::int64_t kChannels = 16, kMiddle = 32;
}

Tensor grid_weight(std::vector<std::int64_t> shape, std::int64_t fan_in, Rng rng) {
  Tensor w = at::empty(shape, at::kFloat);
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  for (std::int64_t i = 0; i < w.numel(); ++i) w.data_ptr<float>()[i] = static_cast<float>((2 * rng.uniform() - 1) * bound);
  return w;
}

Tensor small_product(const Tensor& a, const Tensor& b_in) {
  const Tensor b = b_in.contiguous(), out = at::zeros({a.size(0), b.size(1)}, at::kFloat);
  for (std::int64_t m = 0; m < a.size(0); ++m)
    for (std::int64_t k = 0; k < a.size(1); ++k)
      grid::add_scaled(out.data_ptr<float>() + m * b.size(1), b.const_data_ptr<float>() + k * b.size(1),
                       a.const_data_ptr<float>()[m * a.stride(0) + k * a.stride(1)], b.size(1));
  return out;
}

GridValue GridValue::random(const Rng& rng) {
  const std::int64_t flat = kChannels * kGridCells;
  return {grid_weight({kChannels, kGridPlanes}, kGridPlanes, rng.fork("conv")),
          at::zeros({kChannels}, at::kFloat),
          grid_weight({kGridWidth, flat}, flat, rng.fork("W1")),
          at::zeros({kGridWidth}, at::kFloat),
          grid_weight({kMiddle, kGridWidth}, kGridWidth, rng.fork("W2")),
          at::zeros({kMiddle}, at::kFloat),
          grid_weight({1, kMiddle}, kMiddle, rng.fork("W3")),
          at::zeros({1}, at::kFloat)};
}

void GridValue::add_parameters(std::vector<TrainedParameter>& to) const {
  for (const auto& [name, value] : {std::pair{"value.conv", conv},
                                    {"value.conv_bias", conv_bias},
                                    {"value.W1", W1},
                                    {"value.b1", b1},
                                    {"value.W2", W2},
                                    {"value.b2", b2},
                                    {"value.W3", W3},
                                    {"value.b3", b3}})
    to.push_back({.name = name, .value = value});
}

GridValue::Collapsed GridValue::collapse() const {
  const Tensor u = small_product(W3, W2);                               // [1, 256]
  const Tensor q = small_product(u, W1).view({kChannels, kGridCells});  // dV / d(convolution's output)
  const Tensor weight = small_product(conv.t(), q).contiguous();        // [4, 25]
  // Biases reach the value through what follows their layer.
  const Tensor of_channels = small_product(q, at::ones({kGridCells, 1}, at::kFloat));
  const float constant = small_product(conv_bias.view({1, -1}), of_channels).item<float>() +
                         small_product(u, b1.view({-1, 1})).item<float>() + small_product(W3, b2.view({-1, 1})).item<float>() +
                         b3.item<float>();
  Collapsed c{};
  std::copy_n(weight.const_data_ptr<float>(), kGridInputs, c.weight.begin());
  c.constant = constant;
  return c;
}

void GridValue::set_gradients(const std::array<float, kGridInputs>& inputs, float sum) const {
  Tensor x = at::empty({kGridPlanes, kGridCells}, at::kFloat);
  std::copy(inputs.begin(), inputs.end(), x.data_ptr<float>());
  const Tensor u = small_product(W3, W2), q = small_product(u, W1).view({kChannels, kGridCells});
  // Sums over steps of dL/dV times each layer's output, one after the other.
  const Tensor convolved = (small_product(conv, x) + conv_bias.view({-1, 1}) * sum).view({-1, 1});  // [400, 1]
  const Tensor h1 = small_product(W1, convolved) + b1.view({-1, 1}) * sum, h2 = small_product(W2, h1) + b2.view({-1, 1}) * sum;
  const auto set = [](const Tensor& parameter, const Tensor& gradient) {
    parameter.mutable_grad() = gradient.reshape(parameter.sizes()).contiguous();
  };
  set(W3, h2);
  set(b3, at::full({1}, sum, at::kFloat));
  set(W2, small_product(W3.t(), h1.t()));
  set(b2, W3 * sum);
  set(W1, small_product(u.t(), convolved.t()));
  set(b1, u * sum);
  set(conv, small_product(q, x.t()));
  set(conv_bias, small_product(q, at::ones({kGridCells, 1}, at::kFloat)) * sum);
}

}  // namespace assay::routing
