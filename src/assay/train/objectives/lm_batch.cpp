#include "assay/train/objectives/lm_batch.h"

#include <algorithm>
#include <numeric>

#include "assay/base/error.h"

namespace assay {
namespace {

void check(const LmPart& part, std::int64_t batch_tokens) {
  const auto fail = [&](const std::string& message, const std::string& hint = {}) {
    throw Error("lm objective", "part '" + part.name + "' " + message, hint);
  };
  if (part.examples.empty()) fail("has no examples");
  if (!(part.share > 0)) fail("has the share " + std::to_string(part.share) + ", must be above 0");
  for (std::size_t i = 0; i < part.examples.size(); ++i) {
    const Example& example = *part.examples[i];
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

}  // namespace

MixtureSampler lm_sampler(const std::vector<LmPart>& parts, std::int64_t batch_tokens, std::uint64_t seed) {
  if (parts.empty()) throw Error("lm objective", "the mixture has no parts");
  std::vector<std::vector<std::int64_t>> lengths;
  std::vector<double> shares;
  for (const LmPart& part : parts) {
    check(part, batch_tokens);
    auto& of_part = lengths.emplace_back();
    for (const Example* example : part.examples) of_part.push_back(static_cast<std::int64_t>(example->ids.size()));
    shares.push_back(part.share);
  }
  return {std::move(lengths), std::move(shares), batch_tokens, seed};
}

void LmBatch::add(const Example& example) {
  tokens.add(example.ids);
  targets.insert(targets.end(), example.ids.begin() + 1, example.ids.end());
  targets.push_back(0);
  weights.insert(weights.end(), example.weights.begin() + 1, example.weights.end());
  weights.push_back(0);
}

double LmBatch::total_weight() const { return std::accumulate(weights.begin(), weights.end(), 0.0); }

}  // namespace assay
