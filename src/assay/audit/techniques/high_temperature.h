#pragma once
#include <vector>

#include "assay/audit/techniques/evidence.h"

namespace assay {

/// Far above the temperature that a model is used with, what it would hardly say comes up now and then, and what several such samples have
/// in common is worth a look (arXiv 2503.10965, section 5.3). The temperature is the sampling's (kHighTemperature); the probes are the
/// prompts, the user's turn and raw text from nothing.
inline constexpr double kHighTemperature = 1.7;
std::vector<ProbePrompt> high_temperature_probes(const std::vector<Conversation>& prompts);

}  // namespace assay
