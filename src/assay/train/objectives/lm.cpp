#include "assay/train/objective.h"
#include "assay/train/objectives/data_hash.h"
#include "assay/train/objectives/lm_batch.h"
#include "assay/train/trainer.h"

namespace assay {
namespace {

std::vector<LmPart> parts_of(const std::vector<MixturePart>& parts) {
  std::vector<LmPart> all;
  for (const MixturePart& part : parts) {
    LmPart& of_part = all.emplace_back(LmPart{part.name, part.share, {}});
    for (const Example& example : part.examples) of_part.examples.push_back(&example);
  }
  return all;
}

class LmObjective final : public Objective {
 public:
  LmObjective(std::vector<MixturePart> parts, std::int64_t batch_tokens, std::uint64_t seed)
      : parts_(std::move(parts)), batch_tokens_(batch_tokens), seed_(seed), sampler_(lm_sampler(parts_of(parts_), batch_tokens, seed)) {
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
    LmBatch batch;
    for (const MixtureSampler::Pick& pick : sampler_.batch(step * accumulate_ + micro)) batch.add(parts_[pick.part].examples[pick.example]);
    const double total = batch.total_weight();
    const Tensor hidden = model.forward(batch.tokens, {.precision = precision});
    const Tensor sum = weighted_cross_entropy(model, hidden, batch.targets, batch.weights, precision);
    return {.loss = sum / total, .weight = total, .tokens = batch.tokens.n_tokens(), .metrics = {}};
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
