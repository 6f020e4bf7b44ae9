#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "assay/model/transformer.h"
#include "assay/train/examples.h"
#include "assay/train/objectives/mixture_sampler.h"

namespace assay {

/// A part of a mixture, as its sampler needs it.
struct LmPart {
  std::string name;
  double share = 1.0;
  std::vector<const Example*> examples;
};
/// Throws an Error that names part and example unless every example fits into a batch and has a token that is trained on.
MixtureSampler lm_sampler(const std::vector<LmPart>& parts, std::int64_t batch_tokens, std::uint64_t seed);

/// Sequences end to end for next-token prediction: row i predicts token i + 1; the last row of a sequence predicts nothing.
struct LmBatch {
  TokenBatch tokens;
  std::vector<std::int32_t> targets;
  std::vector<float> weights;

  void add(const Example& example);
  [[nodiscard]] double total_weight() const;
};

}  // namespace assay
