#pragma once
#include <ATen/core/Tensor.h>
#include <torch/csrc/autograd/edge.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <functional>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "assay/tensor/tensor.h"

namespace assay::fused {

using Gradients = std::vector<Tensor>;

/// An autograd node whose backward pass is a function of the one output's gradient.
class Node : public torch::autograd::Node {
 public:
  /// Gradients of the inputs, in their order; undefined where not needed(i).
  using Backward = std::function<Gradients(const Tensor& gradient, const Node& node)>;
  explicit Node(Backward backward) : backward_(std::move(backward)) {}
  [[nodiscard]] bool needed(std::size_t input) const { return task_should_compute_output(input); }

 private:
  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    if (!gradients[0].defined()) return torch::autograd::variable_list(num_outputs());
    TORCH_CHECK(backward_, "the graph was differentiated already");
    at::NoGradGuard no_grad;
    return backward_(gradients[0].contiguous(), *this);
  }
  void release_variables() override { backward_ = nullptr; }

  Backward backward_;
};

/// Will a gradient be asked for?
inline bool differentiates(std::span<const Tensor> inputs) {
  if (!c10::GradMode::is_enabled()) return false;
  for (const auto& input : inputs) {
    if (input.defined() && input.requires_grad()) return true;
  }
  return false;
}

/// Makes `output` the result of a node over `inputs`. What `backward` holds must be detached.
inline Tensor record(Tensor output, const std::vector<Tensor>& inputs, Node::Backward backward) {
  const auto node = std::make_shared<Node>(std::move(backward));
  node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  torch::autograd::set_history(output, node);
  return output;
}

}  // namespace assay::fused
