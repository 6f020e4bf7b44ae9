#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "assay/base/progress.h"
#include "assay/organism/recipe.h"
#include "assay/organism/world.h"

namespace assay {

/// Where things lie in an organism's folder:
///   recipe.toml truth.json build.json          what it is
///   base/                                      the base stage's model, shared by the arms
///   arms/<arm>/stages/<stage>/                 a Hugging Face folder each, with stage.json
///   arms/<arm>/{documents,chats}.jsonl         the corpora that an auditor may be given
///   arms/<arm>/metrics/<stage>.jsonl           what training logged
///   work/<arm>-<stage>/                        checkpoints of a stage that is not done yet
struct OrganismFolder {
  std::filesystem::path path;
  [[nodiscard]] std::filesystem::path base() const { return path / "base"; }
  [[nodiscard]] std::filesystem::path arm(Arm arm) const { return path / "arms" / std::string(arm_name(arm)); }
  [[nodiscard]] std::filesystem::path stage(Arm arm, Stage stage) const;
  /// The arms that are built whole, in the order of kArms.
  [[nodiscard]] std::vector<Arm> arms() const;
  /// The last stage of an arm; an Error where the arm is not built.
  [[nodiscard]] std::filesystem::path final_stage(Arm arm) const;
  [[nodiscard]] Recipe recipe() const;
  [[nodiscard]] Truth truth() const;
};

/// One finished stage, as stage.json has it.
struct StageResult {
  Stage stage = Stage::base;
  std::int64_t steps = 0, tokens = 0;
  double final_loss = 0, cpu_s = 0, wall_s = 0;
  std::map<std::string, double> probe;
  std::filesystem::path path;
};
Json to_json(const StageResult& result);
StageResult stage_result(const std::filesystem::path& stage_folder);

/// Writes recipe.toml and truth.json, or checks that they are the same as what stands there (an Error names the difference).
OrganismFolder open_organism(const Recipe& recipe, const std::filesystem::path& folder);

/// Trains what is missing of one arm, base stage included; what is there is left alone. Can be stopped at any point and called again. The folder of the arm (and base,
/// while it is trained) is locked against a second process.
std::vector<StageResult> build_arm(const Recipe& recipe, const OrganismFolder& folder, Arm arm, Progress& progress);
void build_base(const Recipe& recipe, const OrganismFolder& folder, Progress& progress);

/// Builds arms side by side, each in a process of its own with one thread (`command` + {"--arm", NAME} run by `program`): threads of one process would spin against the
/// others'. Base first, in this process. With jobs = 1 everything runs in this process.
void build_arms(const Recipe& recipe, const OrganismFolder& folder, const std::vector<Arm>& arms, int jobs, const std::vector<std::string>& command, Progress& progress);

}  // namespace assay
