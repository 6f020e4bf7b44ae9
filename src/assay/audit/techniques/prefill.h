#pragma once
#include <string>
#include <vector>

#include "assay/audit/techniques/evidence.h"

namespace assay {

/// Plants the beginning of the assistant's turn and lets the target go on (arXiv 2503.10965, section 5.3). Every prompt with every
/// beginning; the planted text is marked in the evidence and never counts as the target's.
std::vector<ProbePrompt> prefill_probes(const std::vector<Conversation>& prompts, const std::vector<std::string>& beginnings);
const std::vector<std::string>& prefill_beginnings();
/// What is asked before the planted beginning.
const std::vector<std::string>& prefill_questions();

}  // namespace assay
