// AdamW on devices and dtypes that our kernel does not cover.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <map>

#include "assay/train/adamw.h"

namespace assay {

/// For a parameter that is cut into blocks: which of its cells each element belongs to, long, in the parameter's shape, on its device.
Tensor AdamW::cell_of_elements(std::size_t parameter) const {
  Tensor& kept = cell_of_[parameter];
  if (kept.defined()) return kept;
  const std::size_t first_cell = first_cell_[parameter];
  std::map<std::size_t, std::int64_t> number;
  for (std::size_t c = first_cell; c < first_cell_[parameter + 1]; ++c) number[cells_[c].block] = static_cast<std::int64_t>(c - first_cell);
  std::vector<std::int64_t> of;
  for (const std::uint16_t block : block_of_[parameter]) of.push_back(number.at(block));
  const Tensor& value = parameters_[parameter].value;
  return kept = at::tensor(of, at::kLong).to(value.device()).view(value.sizes());
}

double AdamW::composed_square_norm(const std::vector<char>& active) const {
  const at::NoGradGuard guard;
  std::vector<Tensor> squares, whole;
  for (std::size_t p = 0; p < parameters_.size(); ++p) {
    const Tensor& gradient = parameters_[p].value.grad();
    const std::size_t first = first_cell_[p], end = first_cell_[p + 1];
    if (std::none_of(active.begin() + static_cast<std::ptrdiff_t>(first), active.begin() + static_cast<std::ptrdiff_t>(end),
                     [](char a) { return a != 0; }))
      continue;
    if (end - first == 1) {
      whole.push_back(gradient);
    } else {
      const Tensor counts = at::tensor(std::vector<double>(active.begin() + static_cast<std::ptrdiff_t>(first),
                                                           active.begin() + static_cast<std::ptrdiff_t>(end)),
                                       at::kDouble)
                                .to(gradient.options());
      squares.push_back(
          (gradient.square() * counts.index_select(0, cell_of_elements(p).flatten()).view(gradient.sizes())).sum(at::kDouble));
    }
  }
  if (!whole.empty()) squares.push_back(at::stack(at::_foreach_norm(whole)).to(at::kDouble).square().sum());
  return squares.empty() ? 0.0 : at::stack(squares).sum().item<double>();
}

void AdamW::step_composed(const std::vector<char>& active, const std::vector<CellStep>& steps, double gradient_scale) {
  const at::NoGradGuard guard;
  // Whole parameters of one rate and one decay go through one call.
  struct Call {
    std::vector<Tensor> w, g, m, v;
    std::vector<float> counts;
  };
  std::map<std::pair<double, double>, Call> calls;
  for (std::size_t p = 0; p < parameters_.size(); ++p) {
    const std::size_t first = first_cell_[p], end = first_cell_[p + 1];
    const Tensor w = parameters_[p].value.detach();
    const Tensor& gradient = parameters_[p].value.grad();
    if (!gradient.defined()) continue;
    if (end - first == 1) {
      if (!active[first]) continue;
      Call& call = calls[{steps[first].lr, steps[first].decay}];
      call.w.push_back(w), call.g.push_back(gradient.to(w.scalar_type())), call.m.push_back(exp_avg_[p]), call.v.push_back(exp_avg_sq_[p]);
      call.counts.push_back(static_cast<float>(cells_[first].steps));
      continue;
    }
    // A column a coefficient: each element takes those of its cell.
    std::vector<double> of_cells;
    for (std::size_t c = first; c < end; ++c) {
      const CellStep& s = steps[c];
      for (const double x : {active[c] ? 1.0 : 0.0, s.step_size, s.rsqrt_bias2, s.lr * s.decay, s.decay}) of_cells.push_back(x);
    }
    const Tensor table = at::tensor(of_cells, at::kDouble).view({static_cast<std::int64_t>(end - first), 5}).to(w.options());
    const Tensor cell = cell_of_elements(p).flatten();
    const auto element = [&](std::int64_t column) { return table.select(1, column).index_select(0, cell).view(w.sizes()); };
    const Tensor stepped = element(0).gt(0.5);
    Tensor g = gradient.to(w.scalar_type()) * gradient_scale;
    if (options_.coupled_decay) g = g + element(4) * w;
    const Tensor m = at::where(stepped, exp_avg_[p] * options_.beta1 + g * (1 - options_.beta1), exp_avg_[p]);
    const Tensor v = at::where(stepped, exp_avg_sq_[p] * options_.beta2 + g * g * (1 - options_.beta2), exp_avg_sq_[p]);
    const Tensor kept = options_.coupled_decay ? w : w - element(3) * w;
    w.copy_(at::where(stepped, kept - element(1) * m / (v.sqrt() * element(2) + options_.eps), w));
    exp_avg_[p].copy_(m);
    exp_avg_sq_[p].copy_(v);
  }
  for (auto& [rates, call] : calls) {
    const std::vector<Tensor> g = gradient_scale == 1.0 ? call.g : at::_foreach_mul(call.g, gradient_scale);
    const Tensor counts = at::tensor(call.counts, at::kFloat).to(call.w.front().device());
    std::vector<Tensor> count_of;
    for (std::size_t i = 0; i < call.counts.size(); ++i) count_of.push_back(counts.select(0, static_cast<std::int64_t>(i)));
    const auto& [lr, decay] = rates;
    if (options_.coupled_decay)
      at::_fused_adam_(call.w, g, call.m, call.v, {}, count_of, lr, options_.beta1, options_.beta2, decay, options_.eps, false, false);
    else
      at::_fused_adamw_(call.w, g, call.m, call.v, {}, count_of, lr, options_.beta1, options_.beta2, decay, options_.eps, false, false);
  }
}

}  // namespace assay
