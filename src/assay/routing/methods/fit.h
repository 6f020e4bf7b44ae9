#pragma once
#include <cstdint>
#include <functional>
#include <span>

#include "assay/model/transformer.h"
#include "assay/routing/rules.h"

/// Small trainings beside the main one: a fixed batch of sequences, step by step.
namespace assay::routing {

/// Mean cross entropy over the tokens of sequences (nats); nan for none.
double corpus_loss(const Transformer& model, std::span<const RoutedExample> sequences, Precision precision);

struct FitOptions {
  std::int64_t steps = 40;
  double lr = 5e-5, beta1 = 0.9, beta2 = 0.95, weight_decay = 0.01;
  Precision precision = Precision::bf16;
};
struct FitCost {
  double cpu_s = 0;
  std::int64_t tokens = 0;
};
/// AdamW on one batch, all parameters, constant rate. `after` is called behind each step (1, 2, ...); where it says false, the fit ends.
FitCost fit_batch(Transformer& model, std::span<const RoutedExample> batch, const FitOptions& options,
                  const std::function<bool(std::int64_t step)>& after);

}  // namespace assay::routing
