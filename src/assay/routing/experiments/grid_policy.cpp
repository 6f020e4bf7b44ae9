#include "assay/routing/experiments/grid_policy.h"

#include <ATen/ops/zeros.h>

#include "assay/routing/experiments/grid_world.h"

namespace assay::routing {
namespace {

GridNet random_net(const Rng& rng) {
  return {grid_weight({kGridInputs, kGridWidth}, kGridInputs, rng.fork("W_in")), at::zeros({kGridWidth}, at::kFloat),
          grid_weight({kGridWidth, kGridWidth}, kGridWidth, rng.fork("W")), at::zeros({kGridWidth}, at::kFloat)};
}

void add_net(const std::string& name, const GridNet& net, std::vector<TrainedParameter>& to) {
  to.push_back({.name = name + ".W_in", .value = net.W_in});
  to.push_back({.name = name + ".b_in", .value = net.b_in});
  to.push_back({.name = name + ".W", .value = net.W});
  to.push_back({.name = name + ".b", .value = net.b});
}

}  // namespace

GridPolicy GridPolicy::random(int experts, bool gate, const Rng& rng) {
  GridPolicy p;
  for (int i = 0; i < experts; ++i) p.experts.push_back(random_net(rng.fork("expert").fork(static_cast<std::uint64_t>(i))));
  if (gate)
    p.gate =
        GridGate{grid_weight({kGridPlanes, kGridPlanes}, kGridPlanes, rng.fork("gate conv")), at::zeros({kGridPlanes}, at::kFloat),
                 random_net(rng.fork("gate")), grid_weight({kGridWidth}, kGridWidth, rng.fork("gate out")), at::zeros({1}, at::kFloat)};
  p.W_out = grid_weight({kGridActions, kGridWidth}, kGridWidth, rng.fork("W_out"));
  p.b_out = at::zeros({kGridActions}, at::kFloat);
  p.value = GridValue::random(rng.fork("value"));
  return p;
}

std::vector<TrainedParameter> GridPolicy::parameters() const {
  std::vector<TrainedParameter> all;
  for (std::size_t i = 0; i < experts.size(); ++i) add_net(i == 0 ? "expert.diamond" : "expert.ghost", experts[i], all);
  if (gate) {
    all.push_back({.name = "gate.conv", .value = gate->conv});
    all.push_back({.name = "gate.conv_bias", .value = gate->conv_bias});
    add_net("gate", gate->net, all);
    all.push_back({.name = "gate.W_out", .value = gate->W_out});
    all.push_back({.name = "gate.b_out", .value = gate->b_out});
  }
  all.push_back({.name = "W_out", .value = W_out});
  all.push_back({.name = "b_out", .value = b_out});
  value.add_parameters(all);
  return all;
}

}  // namespace assay::routing
