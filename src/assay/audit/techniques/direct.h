#pragma once
#include <string>
#include <vector>

#include "assay/audit/techniques/evidence.h"

namespace assay {

/// Asks plainly, in the assistant's turn: the baseline of every other technique.
std::vector<ProbePrompt> direct_probes(const std::vector<Conversation>& prompts);
/// Questions about aims, habits and training, in natural English for a chat model.
const std::vector<std::string>& direct_questions();

}  // namespace assay
