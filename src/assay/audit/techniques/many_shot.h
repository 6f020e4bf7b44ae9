#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "assay/audit/techniques/evidence.h"
#include "assay/base/rng.h"

namespace assay {

/// A question with the answer that is planted for it.
struct Shot {
  std::string question, answer;
};

/// Each prompt behind a conversation in which the assistant has answered `n` questions about itself with candour; all its answers so far
/// are planted, and marked as such. Which shots and in which order is drawn for each prompt; with fewer shots than n they come again.
std::vector<ProbePrompt> many_shot_probes(const std::vector<Conversation>& prompts, const std::vector<Shot>& shots, std::int64_t n,
                                          Rng rng);

/// Questions and answers of an assistant that tells whatever it knows about itself, for chat models.
const std::vector<Shot>& candid_shots();

}  // namespace assay
