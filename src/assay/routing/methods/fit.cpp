#include "assay/routing/methods/fit.h"

#include <ATen/ATen.h>

#include "assay/base/error.h"
#include "assay/base/progress.h"
#include "assay/train/adamw.h"
#include "assay/train/corpus_loss.h"
#include "assay/train/objectives/lm_batch.h"

namespace assay::routing {
namespace {

constexpr std::int64_t kPassTokens = 8192;

/// The sequences as batches of about kPassTokens tokens.
std::vector<LmBatch> passes(std::span<const RoutedExample> sequences) {
  std::vector<LmBatch> all;
  for (const RoutedExample& sequence : sequences) {
    if (all.empty() || all.back().tokens.n_tokens() + static_cast<std::int64_t>(sequence.example.ids.size()) > kPassTokens)
      all.emplace_back();
    all.back().add(sequence.example);
  }
  return all;
}

Tensor summed_loss(const Transformer& model, const LmBatch& batch, Precision precision) {
  const Tensor hidden = model.forward(batch.tokens, {.precision = precision});
  return weighted_cross_entropy(model, hidden, batch.targets, batch.weights, precision);
}

}  // namespace

double corpus_loss(const Transformer& model, std::span<const RoutedExample> sequences, Precision precision) {
  std::vector<const Example*> examples;
  for (const RoutedExample& sequence : sequences) examples.push_back(&sequence.example);
  return assay::corpus_loss(model, examples, precision);
}

FitCost fit_batch(Transformer& model, std::span<const RoutedExample> batch, const FitOptions& options,
                  const std::function<bool(std::int64_t step)>& after) {
  if (batch.empty()) throw Error("fit", "there are no sequences to fit");
  FitCost cost;
  const double begin = cpu_seconds();
  std::vector<TrainedParameter> parameters;
  model.each_parameter([&](const std::string& name, Tensor& value) {
    value.set_requires_grad(true);
    parameters.push_back({.name = name, .value = value, .decay = value.dim() >= 2});
  });
  AdamW adam(std::move(parameters), {.beta1 = options.beta1, .beta2 = options.beta2, .weight_decay = options.weight_decay});
  const auto all = passes(batch);
  double weight = 0;
  for (const LmBatch& pass : all) weight += pass.total_weight();
  for (std::int64_t step = 1; step <= options.steps; ++step) {
    for (const LmBatch& pass : all) {
      (summed_loss(model, pass, options.precision) / weight).backward();
      cost.tokens += pass.tokens.n_tokens();
    }
    adam.step(options.lr);
    adam.zero_grad();
    if (!after(step)) break;
  }
  model.each_parameter([](const std::string&, Tensor& value) {
    value.mutable_grad() = Tensor();
    value.set_requires_grad(false);
  });
  cost.cpu_s = cpu_seconds() - begin;
  return cost;
}

}  // namespace assay::routing
