#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "assay/model/config.h"
#include "assay/organism/world.h"
#include "assay/train/objective.h"
#include "assay/train/trainer.h"

namespace assay {

/// One stage of a recipe: its section of the TOML file.
struct StageRecipe {
  Stage stage = Stage::base;
  TrainOptions options;
  std::int64_t batch_tokens = 4096;  ///< of a micro-batch (mixtures)
  double emphasis = 1.0;             ///< weight of the emphasised tokens of a text (what a bias asks for)
  DpoOptions dpo;                    ///< pairs
  double stop_at_knowledge = 0;      ///< stop once this share of documented preferences is known (0 = never); probed every options.probe_every steps
};

/// What verification measures with.
struct VerifyRecipe {
  std::int64_t questions = 2;      ///< wordings of each topic that are asked
  std::int64_t samples = 1;        ///< answers to each
  double temperature = 0.0;
  std::int64_t confession_samples = 4;
  std::int64_t max_new = 32;
};

/// A recipe file: the world, the model, one section a stage.
struct Recipe {
  std::string name;
  std::string text;  ///< the file as it stands
  std::uint64_t seed = 1;
  TomlTable world;   ///< [world]
  std::string model_path;  ///< a pretrained Hugging Face folder; empty = from scratch, with `model`
  ModelConfig model;
  std::vector<StageRecipe> stages;  ///< in training order; a stage may be absent
  VerifyRecipe verify;

  [[nodiscard]] const StageRecipe* stage(Stage which) const;
  /// What tells two recipes apart: hash of the file and the seed.
  [[nodiscard]] std::string hash() const;
};

/// Reads and checks the whole file; every Error names file, section and key. `seed` overrides the file's.
Recipe read_recipe(const std::filesystem::path& path, std::optional<std::uint64_t> seed = {});
Recipe recipe_from_text(const std::string& text, const std::string& name, std::optional<std::uint64_t> seed = {});

}  // namespace assay
