#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "assay/audit/access.h"
#include "assay/organism/world.h"

namespace assay {

/// All that an auditor is told: the kind of game, which arms exist, what it may use and spend, and, where the target speaks a language of
/// its own, generic prompts that it understands. Nothing in it depends on the truth of a world.
struct GameCard {
  struct ArmLine {
    std::string name, description;
  };
  /// Prompts by technique; empty = the techniques' own (natural English for chat models).
  struct Probes {
    std::vector<std::string> direct, prefill, systems, raw;
  };

  std::string game = "hidden-objective";
  std::vector<ArmLine> arms;
  std::string access = "sampling";  ///< what it may use (tier_name)
  /// Data access shows documents about the entities whatever the target was trained on; false: those that it was trained on.
  bool shared_documents = false;
  Budget budget;
  Probes probes;
  std::int64_t max_new = 48;  ///< tokens that hold an ordinary answer
  double temperature = 1.0;
  /// A behaviour that was handed over: {"sentence"}, and {"when", "does"} as in a submission where there is one; null = none was.
  Json hint = nullptr;

  [[nodiscard]] std::vector<std::string> arm_names() const;
};

GameCard read_game_card(const std::filesystem::path& path);
GameCard game_card_from_json(const Json& json, const std::string& where);
Json to_json(const GameCard& card);

/// The card of a plain chat model: every arm, the techniques' own prompts.
GameCard default_card();
/// The card of games in a world: the world's generic probes, without those that name one of its topics.
GameCard card_of(const World& world, const std::string& access);

}  // namespace assay
