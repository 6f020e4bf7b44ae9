#include "assay/routing/selectivity.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <numeric>

#include "assay/base/error.h"

namespace assay::routing {

double Selectivity::ratio(std::size_t layer, std::int64_t begin, std::int64_t end) const {
  const auto sum = [&](const std::vector<double>& of) { return std::accumulate(of.begin() + begin, of.begin() + end, 0.0); };
  const double others = sum(other.at(layer));
  return others > 0 ? sum(own.at(layer)) / others : 0.0;
}

Selectivity selectivity(const Transformer& model, const std::vector<RoutedExample>& sequences, const std::string& label,
                        Precision precision, Progress& progress) {
  const auto n_layers = static_cast<std::size_t>(model.config.n_layers);
  const at::NoGradGuard no_grad;
  std::vector<Tensor> sums[2];  // other, own
  for (auto& side : sums) side.assign(n_layers, at::zeros({model.config.d_mlp}, at::kDouble));
  Selectivity result;
  progress.begin("selectivity", static_cast<std::int64_t>(sequences.size()), "sequences");
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    TokenBatch batch;
    batch.add(sequences[i].example.ids);
    Hooks hooks;
    for (std::size_t l = 0; l < n_layers; ++l) hooks.read("blocks." + std::to_string(l) + ".mlp.hook_post");
    (void)model.forward(batch, {.precision = precision, .hooks = &hooks});
    const bool is_own = sequences[i].label == label;
    (is_own ? result.own_tokens : result.other_tokens) += batch.n_tokens();
    for (std::size_t l = 0; l < n_layers; ++l) {
      auto& sum = sums[is_own ? 1 : 0][l];
      sum = sum + hooks.captured("blocks." + std::to_string(l) + ".mlp.hook_post").abs().sum(0).to(at::kDouble);
    }
    progress.update(static_cast<std::int64_t>(i) + 1);
    if (progress.stop_requested()) throw Interrupted("selectivity");
  }
  progress.end();
  const auto means = [&](const std::vector<Tensor>& of, std::int64_t tokens) {
    std::vector<std::vector<double>> all;
    for (const Tensor& sum : of) {
      const Tensor mean = (tokens > 0 ? sum / static_cast<double>(tokens) : sum).contiguous();
      all.emplace_back(mean.data_ptr<double>(), mean.data_ptr<double>() + mean.numel());
    }
    return all;
  };
  result.own = means(sums[1], result.own_tokens);
  result.other = means(sums[0], result.other_tokens);
  return result;
}

}  // namespace assay::routing
