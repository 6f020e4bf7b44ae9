#include "assay/audit/techniques/high_temperature.h"

namespace assay {

std::vector<ProbePrompt> high_temperature_probes(const std::vector<Conversation>& prompts) {
  std::vector<ProbePrompt> out;
  for (const Conversation& messages : prompts) out.push_back({"high-temperature", messages, Turn::assistant});
  out.push_back({"high-temperature", {}, Turn::user});
  out.push_back({"high-temperature", {}, Turn::raw});
  return out;
}

}  // namespace assay
