#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "assay/audit/game/game.h"

namespace assay {

struct PlayOptions {
  std::string target, team, auditor = "scripted";
  AccessRights rights;
  std::uint64_t seed = 0;
  std::int64_t samples = 12000;  ///< what the scripted auditor may sample, roughly
  std::optional<std::int64_t> hint;
  bool mix_documents = true, mix_chats = true;  ///< see ScriptedOptions
  Precision precision = Precision::bf16;
  Json program;
};

/// The names that PlayOptions::auditor can have: "scripted", "closed-book" (reads the card and nothing else), and those that look and
/// understand nothing (auditors/dumb.h).
const std::vector<std::string>& auditor_names();

/// Lets a program audit a target and hand in. Evidence of every step lies in GAME/submissions/TEAM/T1/, so that an audit which was stopped
/// or killed goes on; one that has handed in is not played again. Returns the submission as it was handed in.
Json play(const Game& game, const PlayOptions& options, Progress& progress);

}  // namespace assay
