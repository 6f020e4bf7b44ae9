#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "assay/base/rng.h"

namespace assay {

/// How a next token is drawn from logits.
struct SamplerOptions {
  double temperature = 1.0;  ///< 0 = greedy
  std::int64_t top_k = 0;    ///< 0 = all
  double top_p = 1.0, min_p = 0.0;
};

struct Draw {
  std::int32_t id = 0;
  float logprob = 0;  ///< log p under temperature 1, no filters
};

/// Draws from one row of logits with one uniform number; the filters act in the order top-k, top-p, min-p on the tempered distribution, as
/// in transformers. Of equally likely tokens the one with the lower id counts as likelier. Keeps its memory between calls.
class Sampler {
 public:
  explicit Sampler(SamplerOptions options) : options_(options) {}
  Draw draw(std::span<const float> logits, Rng rng);

 private:
  void filter(double total);

  SamplerOptions options_;
  std::vector<float> weights_;  // of each token, the likeliest has 1
  std::vector<double> blocks_;  // sums of blocks of them
  std::vector<std::int32_t> kept_;
};

}  // namespace assay
