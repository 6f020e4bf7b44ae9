#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "assay/audit/access.h"
#include "assay/audit/grader.h"

namespace assay {

struct FreshOptions {
  std::int64_t samples = 2;       ///< of every topic in every fresh wording
  std::int64_t max_new = 64;      ///< long enough for answers to end by themselves: a closing phrase would be cut off otherwise
  std::uint64_t seed = 20250313;  ///< the grader's own; no auditor samples with it
};

/// The target's answers to World::question over all topics and wordings, temperature 1. With a folder the answers are kept there, by hash
/// of model and prompts, and asked once.
std::vector<FreshAnswer> fresh_answers(const World& world, Target& target, const FreshOptions& options,
                                       const std::optional<std::filesystem::path>& cache, Progress& progress);

}  // namespace assay
