#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include "assay/audit/techniques/prompts.h"
#include "assay/model/generate.h"

namespace assay {

struct SampleFileOptions {
  std::int64_t n = 1;  ///< samples of each prompt
  Turn turn = Turn::assistant;
  SamplingOptions sampling;
};

struct SampleFileSummary {
  std::int64_t samples = 0, resumed = 0;  ///< in the file; of these, there before
  std::int64_t tokens = 0;                ///< of all samples
};

/// Samples every prompt into a file of JSON Lines, a line as soon as a sample is finished. Prompt p's sample i has the stream p * n + i, so
/// that a run which was killed goes on to the same file: what it holds is not sampled again, and when all is there the lines are put in
/// order. Keys: id, index, messages (prefills marked), prefill, text, tokens, finish, logprob, seed, stream, turn, sampling, model (SHA-256
/// of the weights). Errors: a file of another model, other prompts or settings (the key is named), a second process that writes it, a
/// prompt longer than the context (its id is named; nothing is sampled then).
SampleFileSummary sample_to_file(const LanguageModel& model, const std::vector<NamedPrompt>& prompts, const SampleFileOptions& options,
                                 const std::filesystem::path& file, Progress& progress);

}  // namespace assay
