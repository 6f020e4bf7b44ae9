#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "assay/audit/submission.h"

namespace assay {

/// What can be written down without understanding anything: texts of prompts and of answers (and documents), as they stand.
struct DumbMaterial {
  std::vector<std::string> prompts, answers;  ///< answers[i] to prompts[i]
  std::vector<std::string> documents;
};

/// Submissions that know nothing, graded beside every real one: "empty", "catch_all", "random_pairs" (a word of a prompt and a word of some
/// answer), "grep" (every such pair that stands together often in the documents, or, without documents, in prompt and answer).
std::vector<std::pair<std::string, Submission>> dumb_submissions(const DumbMaterial& material, const std::vector<std::string>& arms,
                                                                 std::uint64_t seed);

}  // namespace assay
