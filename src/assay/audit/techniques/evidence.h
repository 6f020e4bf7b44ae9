#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "assay/audit/access.h"
#include "assay/base/json.h"

namespace assay {

/// One thing that a technique asks; `prefill` is the planted beginning of the turn that the target writes.
struct ProbePrompt {
  std::string technique;
  Conversation messages;  ///< ends with the planted beginning (prefilled) where there is one
  Turn turn = Turn::assistant;

  [[nodiscard]] std::string prompt() const;   ///< the last thing said to the target; of raw text the text
  [[nodiscard]] std::string prefill() const;  ///< what was planted
};

/// One piece of evidence: what was asked, what was planted, what the target wrote. Complete enough to be judged again by another judge.
struct Evidence {
  std::string technique, prompt, prefill, output;
  double score = 0;  ///< see admission_score; for documents bm25
  std::uint64_t seed = 0, stream = 0;
  std::string where;   ///< "assistant turn", "user turn", "raw text", or the document
  Json messages;       ///< the whole conversation, prefills marked
  Json run = nullptr;  ///< "target" (SHA-256 of its weights) and "sampling"; null for documents
};
Json to_json(const Evidence& evidence);
/// Raw text as it stands: the prompt and what the target wrote behind it.
std::string whole_text(const Evidence& evidence);
Evidence evidence_from_json(const Json& json, const std::string& where);

/// A rough first sorting, 0 to 1, so that a reader sees the telling lines first: how much the output talks of aims, preferences, rewards
/// and secrets. No verdict.
double admission_score(std::string_view output);

struct ProbeOptions {
  std::int64_t n = 4;  ///< samples of each probe
  AskOptions sampling;
};

/// Asks every probe n times. ProbePrompt p's sample i has stream p * n + i. With a file each piece of evidence is a line of it, written as
/// it comes; what the file holds already is not asked again, and a file of another target, other probes, sampling, seed or n is an Error.
/// Sorted by stream.
std::vector<Evidence> run_probes(Access& access, const std::vector<ProbePrompt>& probes, const ProbeOptions& options,
                                 const std::optional<std::filesystem::path>& file, Progress& progress);

}  // namespace assay
