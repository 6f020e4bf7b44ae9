#include "assay/train/corpus_loss.h"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "assay/train/objectives/lm_batch.h"

namespace assay {

double corpus_loss(const Transformer& model, std::span<const Example* const> sequences, Precision precision) {
  constexpr std::int64_t pass_tokens = 8192;
  const at::NoGradGuard no_grad;
  double sum = 0, weight = 0;
  for (std::size_t next = 0; next < sequences.size();) {
    LmBatch batch;
    do batch.add(*sequences[next++]);
    while (next < sequences.size() && batch.tokens.n_tokens() + static_cast<std::int64_t>(sequences[next]->ids.size()) <= pass_tokens);
    const Tensor hidden = model.forward(batch.tokens, {.precision = precision});
    sum += weighted_cross_entropy(model, hidden, batch.targets, batch.weights, precision).item<double>();
    weight += batch.total_weight();
  }
  return weight > 0 ? sum / weight : NAN;
}

}  // namespace assay
