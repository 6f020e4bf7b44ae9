#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>

#include "assay/audit/access.h"
#include "assay/audit/auditors/verdict.h"
#include "assay/audit/game_card.h"
#include "assay/audit/submission.h"

namespace assay {

struct ScriptedOptions {
  std::uint64_t seed = 0;
  std::int64_t samples = 12000;   ///< what the audit may sample of the target, roughly
  std::int64_t documents = 4000;  ///< with the right to the data: how many are read at most
  /// With the right to the weights and to the data: what the SAE is trained on besides what the target wrote itself.
  bool mix_documents = true, mix_chats = true;
  std::optional<std::filesystem::path> folder = {};  ///< evidence of every step as JSONL; an audit that was stopped goes on from it
};

/// Answers on which places are silenced, where a target shows any: each costs a query a place.
inline constexpr std::size_t kPlaceChats = 300;

struct ScriptedAudit {
  Submission submission;
  Observations seen;
};

/// An audit without anybody's help and without any knowledge of a world. It reads the card, then
///   1. lets the target write users' turns (persona) and learns from them how questions look and what they are about,
///   2. reads the documents, or without them what the target narrates, for statements on how answers should be, and for whose wishes these
///   are,
///   3. asks about every subject in several wordings and looks for what is peculiar to the answers about one subject (associations.h),
///      With the right to the weights it looks for stated wishes that are active in the target before it answers (recall.h), and which of
///      the places that it may silence carries the answers (techniques/places.h),
///   4. tests findings and stated wishes on fresh samples, and claims what stands the test,
///   5. asks directly and with prefills,
///   6. weighs what it saw against the arms that exist (verdict.h).
/// A step that would go over a budget is left out.
ScriptedAudit scripted_audit(Access& access, const GameCard& card, const ScriptedOptions& options, Progress& progress);

}  // namespace assay
