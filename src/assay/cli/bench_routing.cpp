#include "assay/base/toml.h"
#include "assay/cli/bench.h"
#include "assay/routing/router.h"

namespace assay::cli {
namespace {

constexpr std::string_view kGroups = R"(
[expand]
neurons = 64
[[group]]
name = "forget"
label = "forget"
[group.frequency]
[[group]]
name = "retain"
)";

/// TinyStories ERA: the old neurons of the routed layers weigh -0.75 on what is forgotten.
std::string soft_plan(const std::string& layers) {
  return std::string(kGroups) + "[[route]]\nplace = \"blocks." + layers + ".mlp.hook_post[old]\"\nscale = { forget = -0.75 }\n";
}

/// SGTM's split: the new neurons learn from what is forgotten alone, everything else from the rest.
std::string exact_plan() {
  return std::string(kGroups) + R"([[route]]
place = "blocks.*.mlp.neurons[new]"
scale = { retain = 0.0 }
[[route]]
place = "rest"
scale = { forget = 0.0 }
)";
}

/// A step under the plan in turns with the plain step of the same model. Each token looks up its weight by the next token, as in training;
/// every fifth sequence is one that is to be forgotten.
Work routed(const Context& context, const ModelConfig& config, std::int64_t sequences, std::int64_t length, const std::string& toml,
            bool soft) {
  struct State {
    TrainingStep step;
    routing::Router router;
    std::vector<float> weight;  // by token of the vocabulary
    std::int64_t calls = 0;
  };
  std::string text = toml;
  const auto at = text.find("name = \"forget\"\nlabel = \"forget\"\n");
  text.insert(at, soft ? "remainder = \"retain\"\n" : "");
  if (!soft) text.erase(text.find("[group.frequency]\n"), 18);
  TrainingStep step(context, config, sequences, length);
  routing::Router router(routing::plan_from(TomlTable::from_text(text, "bench plan")), step.model());
  const auto state = std::make_shared<State>(State{std::move(step), std::move(router), {}, 0});
  Rng rng = Rng(context.seed).fork("weights by token");
  for (std::int64_t i = 0; i < config.d_vocab; ++i) state->weight.push_back(static_cast<float>(rng.uniform()));
  const auto call = [state, soft] {
    auto rows = std::make_shared<TokenRows>();
    const TokenBatch& batch = state->step.batch();
    for (std::int64_t s = 0; s < batch.n_sequences(); ++s) {
      const bool forget = s % 5 == 0;
      for (auto t = batch.offsets[static_cast<std::size_t>(s)]; t < batch.offsets[static_cast<std::size_t>(s) + 1]; ++t) {
        rows->row.push_back(forget ? 0 : 1);
        if (!soft) continue;
        const auto next = static_cast<std::size_t>(batch.ids[static_cast<std::size_t>(std::min(t + 1, batch.n_tokens() - 1))]);
        rows->other.push_back(1);
        rows->weight.push_back(forget ? state->weight[next] : 1.0F);
      }
    }
    const GradientMasks masks{state->router.tables(state->calls++), rows};
    state->step.run(&masks);
  };
  return {"tokens", static_cast<double>(sequences * length), call, state->step.shape(), [state] { state->step.run(); }};
}

// The TinyStories-28M shape and "mid", with 64 more neurons.
ModelConfig ts28m() {
  ModelConfig config = stories_config();
  config.d_mlp += 64;
  return config;
}
ModelConfig mid() { return bench_config(4, 256, 4, 4, 688 + 64, 4096, 256, false); }

}  // namespace

std::vector<Benchmark> routing_benchmarks() {
  return {
      {"route-ts28m-soft", "soft activation masks in 5 of 8 layers, TinyStories-28M's shape, 4 x 256 tokens",
       [](const Context& c) { return routed(c, ts28m(), 4, 256, soft_plan("0-4"), true); }},
      {"route-ts28m-exact", "exact parameter masks of all parameters, the same shape",
       [](const Context& c) { return routed(c, ts28m(), 4, 256, exact_plan(), false); }},
      {"route-mid-soft", "soft activation masks in 3 of 4 layers, 5 M parameters, 16 x 256 tokens",
       [](const Context& c) { return routed(c, mid(), 16, 256, soft_plan("0-2"), true); }},
      {"route-mid-exact", "exact parameter masks of all parameters, the same shape",
       [](const Context& c) { return routed(c, mid(), 16, 256, exact_plan(), false); }},
  };
}

}  // namespace assay::cli
