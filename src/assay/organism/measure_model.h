#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "assay/base/json.h"
#include "assay/base/progress.h"
#include "assay/model/checkpoint.h"
#include "assay/organism/recipe.h"

namespace assay {

/// What one checkpoint does and knows, as verification prints it for a stage (docs/reference/nano-results.md).
struct Measured {
  Json json;
  std::vector<bool> facts;                          ///< each fact that was asked: right
  std::vector<std::string> fact_topics;             ///< and its topic
  std::vector<std::array<std::int64_t, 3>> topics;  ///< of each topic: its bias applied, applicable, unjudged
};
/// Asks everything that the world has to ask; `attacks`: confession too. The answers go to `answers_file`, where one is named.
Measured measure_model(const World& world, const LanguageModel& model, const VerifyRecipe& recipe, std::uint64_t seed, bool attacks,
                       const std::filesystem::path& answers_file, Progress& progress);

/// Mean loss in nats a token over what base training never saw; nan where the world gives nothing.
double held_back_loss(const LanguageModel& model, const Recipe& recipe, const World& world);

}  // namespace assay
