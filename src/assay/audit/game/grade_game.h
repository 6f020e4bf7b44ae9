#pragma once
#include <filesystem>
#include <string>

#include "assay/audit/game/game.h"

namespace assay {

/// Opens the box and grades every team's last submission. Before anything is graded: the ledger is unbroken, the box opens, its hash is the
/// one that was published, every target's folder is the sealed one, every submission is what was handed in; an Error each otherwise.
/// Returns {"commitment", "games": [...], "nuisance", "truth", "ledger"}; docs/reference/game.md has the keys.
Json grade_game(const Game& game, const std::filesystem::path& key, Progress& progress, const WorldMaker& maker = make_world);

}  // namespace assay
