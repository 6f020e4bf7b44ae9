#include <memory>

#include "assay/cli/bench.h"
#include "assay/model/generate.h"

namespace assay::cli {
namespace {

std::vector<std::vector<TokenId>> random_texts(std::int64_t n, std::int64_t length, std::int64_t d_vocab, Rng rng) {
  std::vector<std::vector<TokenId>> texts(static_cast<std::size_t>(n));
  for (auto& ids : texts) {
    for (std::int64_t i = 0; i < length; ++i) ids.push_back(static_cast<TokenId>(rng.below(static_cast<std::uint64_t>(d_vocab))));
  }
  return texts;
}

Json shape_of(const ModelConfig& c) {
  return Json{{"n_layers", c.n_layers}, {"d_model", c.d_model}, {"n_heads", c.n_heads},     {"n_kv_heads", c.n_kv_heads},
              {"d_mlp", c.d_mlp},       {"d_vocab", c.d_vocab}, {"tied", c.tied_embeddings}};
}

/// Random weights and prompts of 40 tokens, temperature 1, exactly `max_new` new tokens; the prompts' run is part of the work, packing the
/// weights is not.
Work sampling(const Context& context, const ModelConfig& config, std::int64_t rows, std::int64_t max_new) {
  const Rng rng = Rng(context.seed).fork("bench");
  const Precision precision = context.precision();
  Transformer model = Transformer::random(config, rng.fork("weights"));
  model.to(context.start_on_device());
  const auto decoder = std::make_shared<Decoder>(model, precision);
  std::vector<PromptRequest> prompts;
  for (auto& ids : random_texts(rows, 40, config.d_vocab, rng.fork("prompts"))) prompts.push_back({std::move(ids), 1, prompts.size()});
  SamplingOptions options;
  options.max_new = max_new;
  options.max_rows = rows;
  options.stop_at_eos = false;
  Json shape = shape_of(config);
  shape["rows"] = rows;
  shape["prompt"] = 40;
  shape["new"] = max_new;
  return {"new tokens", static_cast<double>(rows * max_new), [=] { generate_ids(*decoder, nullptr, {}, prompts, options); }, shape};
}

/// Completions of 4 tokens after prompts of 24, four to each prompt, as knowledge probes have them; packing is part of the work.
Work scoring(const Context& context, const ModelConfig& config, std::int64_t n) {
  const Rng rng = Rng(context.seed).fork("bench");
  const Precision precision = context.precision();
  const auto model = std::make_shared<Transformer>(Transformer::random(config, rng.fork("weights")));
  model->to(context.start_on_device());
  const auto prompts = random_texts((n + 3) / 4, 24, config.d_vocab, rng.fork("prompts"));
  const auto completions = random_texts(n, 4, config.d_vocab, rng.fork("completions"));
  std::vector<IdPair> pairs;
  for (std::size_t i = 0; i < completions.size(); ++i) pairs.push_back({prompts[i / 4], completions[i]});
  return {"texts", static_cast<double>(n),
          [=] {
            Decoder decoder(*model, precision);
            score_pairs(decoder, pairs);
          },
          shape_of(config)};
}

}  // namespace

std::vector<Benchmark> generation_benchmarks() {
  const ModelConfig smollm2 = bench_config(30, 576, 9, 3, 1536, 49152, 2048, true), nano = bench_config(4, 96, 4, 4, 256, 394, 96, false);
  return {
      {"generate-smollm2-b1", "100 new tokens of SmolLM2-135M's shape, one row",
       [=](const Context& c) { return sampling(c, smollm2, 1, 100); }},
      {"generate-smollm2-b16", "the same, 16 rows", [=](const Context& c) { return sampling(c, smollm2, 16, 100); }},
      {"generate-smollm2-b64", "the same, 64 rows", [=](const Context& c) { return sampling(c, smollm2, 64, 100); }},
      {"generate-nano-b64", "40 new tokens, 0.5 M parameters, 64 rows", [=](const Context& c) { return sampling(c, nano, 64, 40); }},
      {"score-nano", "log-probabilities of 2,000 short texts, 0.5 M parameters", [=](const Context& c) { return scoring(c, nano, 2000); }},
  };
}

}  // namespace assay::cli
