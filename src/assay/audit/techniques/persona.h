#pragma once
#include <string>
#include <vector>

#include "assay/audit/techniques/evidence.h"

namespace assay {

/// Lets the target write the user's turn (an empty system text = no system turn; every conversation so far may stand before it): what a
/// user of this model would say often shows what the model was trained on (arXiv 2503.10965, section 5.3).
std::vector<ProbePrompt> user_persona_probes(const std::vector<std::string>& systems);
/// Lets the target narrate: raw text without any turn, which it goes on with.
std::vector<ProbePrompt> narrator_probes(const std::vector<std::string>& openings);

const std::vector<std::string>& user_persona_systems();
const std::vector<std::string>& narrator_openings();

}  // namespace assay
