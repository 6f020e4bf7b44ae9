#include <algorithm>
#include <numeric>

#include "assay/base/error.h"
#include "assay/train/objective.h"
#include "assay/train/objectives/data_hash.h"
#include "assay/train/objectives/mixture_sampler.h"
#include "assay/train/trainer.h"

namespace assay {
namespace {

void check(const MixturePart& part, std::int64_t batch_tokens) {
  const auto fail = [&](const std::string& message, const std::string& hint = {}) {
    throw Error("lm objective", "part '" + part.name + "' " + message, hint);
  };
  if (part.examples.empty()) fail("has no examples");
  if (!(part.share > 0)) fail("has the share " + std::to_string(part.share) + ", must be above 0");
  for (std::size_t i = 0; i < part.examples.size(); ++i) {
    const Example& example = part.examples[i];
    const std::string name = "example " + std::to_string(i);
    if (example.ids.size() != example.weights.size())
      fail(name + " has " + std::to_string(example.ids.size()) + " ids and " + std::to_string(example.weights.size()) + " weights");
    if (static_cast<std::int64_t>(example.ids.size()) > batch_tokens) {
      fail(name + " has " + std::to_string(example.ids.size()) + " tokens, a batch holds " + std::to_string(batch_tokens),
           "raise batch_tokens or cut the example");
    }
    const bool trained =
        example.weights.size() > 1 && std::any_of(example.weights.begin() + 1, example.weights.end(), [](float w) { return w != 0; });
    if (!trained) fail(name + " has no token that is trained on");
  }
}

MixtureSampler sampler_for(const std::vector<MixturePart>& parts, std::int64_t batch_tokens, std::uint64_t seed) {
  if (parts.empty()) throw Error("lm objective", "the mixture has no parts");
  std::vector<std::vector<std::int64_t>> lengths;
  std::vector<double> shares;
  for (const MixturePart& part : parts) {
    check(part, batch_tokens);
    auto& of_part = lengths.emplace_back();
    for (const Example& example : part.examples) of_part.push_back(static_cast<std::int64_t>(example.ids.size()));
    shares.push_back(part.share);
  }
  return {std::move(lengths), std::move(shares), batch_tokens, seed};
}

class LmObjective final : public Objective {
 public:
  LmObjective(std::vector<MixturePart> parts, std::int64_t batch_tokens, std::uint64_t seed)
      : parts_(std::move(parts)), batch_tokens_(batch_tokens), seed_(seed), sampler_(sampler_for(parts_, batch_tokens, seed)) {
    Json described = Json::array();
    for (const MixturePart& part : parts_) {
      DataHash hash;
      for (const Example& example : part.examples) hash.add(example);
      described.push_back({{"name", part.name}, {"examples", part.examples.size()}, {"share", part.share}, {"data", hash.hex()}});
    }
    description_ = Json{{"kind", "lm"}, {"seed", seed_}, {"batch_tokens", batch_tokens_}, {"parts", described}};
  }

  void prepare(const Transformer&, const TrainOptions& options, const std::filesystem::path&, Progress&) override {
    accumulate_ = options.accumulate;
  }

  [[nodiscard]] Json describe() const override { return description_; }

  StepLoss loss(const Transformer& model, std::int64_t step, std::int64_t micro, Precision precision) override {
    TokenBatch batch;
    std::vector<std::int32_t> targets;
    std::vector<float> weights;
    for (const MixtureSampler::Pick& pick : sampler_.batch(step * accumulate_ + micro)) {
      const Example& example = parts_[pick.part].examples[pick.example];
      batch.add(example.ids);
      // Row i predicts token i+1; the last row of a sequence predicts nothing.
      targets.insert(targets.end(), example.ids.begin() + 1, example.ids.end());
      targets.push_back(0);
      weights.insert(weights.end(), example.weights.begin() + 1, example.weights.end());
      weights.push_back(0);
    }
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    const Tensor hidden = model.forward(batch, {.precision = precision});
    const Tensor sum = weighted_cross_entropy(model, hidden, targets, weights, precision);
    return {.loss = sum / total, .weight = total, .tokens = batch.n_tokens(), .metrics = {}};
  }

 private:
  std::vector<MixturePart> parts_;
  std::int64_t batch_tokens_;
  std::uint64_t seed_;
  std::int64_t accumulate_ = 1;
  MixtureSampler sampler_;
  Json description_;
};

}  // namespace

std::unique_ptr<Objective> make_lm_objective(std::vector<MixturePart> parts, std::int64_t batch_tokens, std::uint64_t seed) {
  return std::make_unique<LmObjective>(std::move(parts), batch_tokens, seed);
}

}  // namespace assay
