#pragma once
// A model and data small enough to train in milliseconds.
#include "assay/model/transformer.h"
#include "assay/train/trainer.h"

namespace assay::testing_tools {

inline Transformer tiny_model(std::uint64_t seed = 1, bool tied = true) {
  ModelConfig config;
  config.n_layers = 2;
  config.d_model = 16;
  config.n_heads = config.n_kv_heads = 2;
  config.d_head = 8;
  config.d_mlp = 32;
  config.d_vocab = 23;
  config.n_ctx = 32;
  config.tied_embeddings = tied;
  config.initializer_range = 0.1;
  return Transformer::random(config, Rng(seed));
}

/// Sequences that count upwards: easy to learn. Weight 1 everywhere.
inline std::vector<Example> counting_examples(std::int64_t n, std::uint64_t seed = 5) {
  Rng rng(seed);
  std::vector<Example> examples;
  for (std::int64_t i = 0; i < n; ++i) {
    Example example;
    const auto start = static_cast<TokenId>(rng.below(23)), length = static_cast<TokenId>(4 + rng.below(9));
    for (TokenId t = 0; t < length; ++t) example.ids.push_back((start + t) % 23);
    example.weights.assign(example.ids.size(), 1.0f);
    examples.push_back(std::move(example));
  }
  return examples;
}

inline std::unique_ptr<Objective> counting_objective(std::uint64_t seed = 9, std::int64_t batch_tokens = 64) {
  std::vector<MixturePart> parts;
  parts.push_back({"a", counting_examples(30), 2.0});
  parts.push_back({"b", counting_examples(20, 6), 1.0});
  return make_lm_objective(std::move(parts), batch_tokens, seed);
}

inline TrainOptions quick_options(std::int64_t steps) {
  TrainOptions options;
  options.steps = steps;
  options.lr = 1e-2;
  options.weight_decay = 0.1;
  options.warmup_steps = 2;
  options.schedule = Schedule::cosine;
  options.precision = Precision::f32;
  options.checkpoint_every = 4;
  options.log_every = 3;
  return options;
}

inline bool same_bits(const Transformer& a, const Transformer& b) {
  bool same = true;
  std::vector<Tensor> of_b;
  b.each_parameter([&](const std::string&, const Tensor& value) { of_b.push_back(value); });
  std::size_t i = 0;
  a.each_parameter([&](const std::string&, const Tensor& value) { same = same && value.equal(of_b.at(i++)); });
  return same;
}

}  // namespace assay::testing_tools
