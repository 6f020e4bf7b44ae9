#pragma once
#include <cstdint>

#include "assay/audit/game_card.h"
#include "assay/audit/submission.h"

namespace assay {

/// The auditor that never looks: it reads the card alone, gives every arm the same probability but for a hair more to one drawn by seed
/// (a tie would be no answer), and claims no behaviour. It cannot name whose wishes an objective serves, so the draw leaves "organism" out.
/// What it scores is what the card and luck are worth.
Submission closed_book(const GameCard& card, std::uint64_t seed);

}  // namespace assay
