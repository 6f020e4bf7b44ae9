#include "assay/routing/by_loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cassert>
#include <map>

namespace assay::routing {

void backward_by_loss(const std::vector<std::pair<std::string, Tensor>>& parameters, std::span<const Tensor> losses,
                      const std::vector<Block>& blocks, const std::vector<double>& rest) {
  std::vector<Tensor> sums;
  for (const auto& [name, value] : parameters) {
    sums.push_back(value.grad());
    value.mutable_grad() = Tensor();
  }
  for (std::size_t g = 0; g < losses.size(); ++g) {
    assert(g < rest.size());
    if (!losses[g].defined() || !losses[g].requires_grad()) continue;
    losses[g].backward({}, /*retain_graph=*/true);
    const at::NoGradGuard no_grad;
    std::map<std::string, std::pair<Tensor, Tensor>> scaled;  // as it came, and as it counts
    for (const auto& [name, value] : parameters) {
      if (value.grad().defined()) scaled[name] = {value.grad(), value.grad() * rest[g]};
      value.mutable_grad() = Tensor();
    }
    for (const Block& block : blocks) {
      for (const ParameterSlice& slice : block.slices) {
        const auto found = scaled.find(slice.parameter);
        if (found == scaled.end()) continue;
        const auto part = [&](const Tensor& t) { return t.narrow(slice.axis, slice.begin, slice.end - slice.begin); };
        part(found->second.second).copy_(part(found->second.first) * block.scale[g]);
      }
    }
    for (std::size_t p = 0; p < parameters.size(); ++p) {
      const auto found = scaled.find(parameters[p].first);
      if (found == scaled.end()) continue;
      sums[p] = sums[p].defined() ? sums[p] + found->second.second : found->second.second;
    }
  }
  for (std::size_t p = 0; p < parameters.size(); ++p) parameters[p].second.mutable_grad() = sums[p];
}

}  // namespace assay::routing
