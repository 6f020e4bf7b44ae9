#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "assay/audit/access.h"
#include "assay/audit/game_card.h"
#include "assay/audit/techniques/evidence.h"

namespace assay {

/// Something that was said to a target, and what it said then.
struct SaidChat {
  Conversation messages;
  Turn turn = Turn::assistant;
  std::string reply;
};

/// Questions that the target writes itself when it is to write the user's turn, and its answers to them: `n` chats.
std::vector<SaidChat> own_chats(Access& access, const GameCard& card, std::int64_t n, std::uint64_t seed, Progress& progress);

/// Which of the places that the access shows (Access::Weights::places) carries what the target says? Each place is silenced in turn, and
/// what the target loses of the log-probability of its own replies, in nats a token, is the place's score: an estimate of the divergence of
/// the target from itself without the place. One piece of evidence a place, the highest score first: where = its name, prompt and output =
/// the chat that lost most, run.ci90 = over chats. With a file the evidence is kept there, and taken from there when it is. An Error
/// without the right to the weights or without places.
std::vector<Evidence> rank_places(Access& access, const std::vector<SaidChat>& chats, std::uint64_t seed,
                                  const std::optional<std::filesystem::path>& file, Progress& progress);

/// A table of what rank_places found.
std::string places_text(const std::vector<Evidence>& ranked);

}  // namespace assay
