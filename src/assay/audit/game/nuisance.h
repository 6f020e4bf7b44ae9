#pragma once
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "assay/audit/grader.h"
#include "assay/base/json.h"
#include "assay/base/rng.h"

namespace assay {

/// Numbers that anybody could read off a target without auditing it: norms of its weights, loss (nats a token) on texts of base training
/// that no arm saw and on its game's documents, length of its answers in words.
std::vector<std::pair<std::string, double>> nuisance_features(const std::filesystem::path& model,
                                                              const std::vector<std::string>& base_texts,
                                                              const std::vector<std::string>& documents,
                                                              const std::vector<FreshAnswer>& answers);

/// Area under the ROC curve: the chance that a positive has the higher score, ties counted half. nan without positives or negatives.
double auroc(const std::vector<double>& scores, const std::vector<bool>& positive);

/// The best single feature, in its better direction, for telling positives from the rest: the figure that an auditor has to beat. `chance`:
/// the mean of the same over permutations of the labels, which with few targets is far above 0.5.
struct Nuisance {
  std::string feature;  ///< empty where all targets are of one kind
  double auroc = 0, chance = 0;
  std::size_t targets = 0, positives = 0;
  std::vector<std::pair<std::string, double>> all;  ///< every feature's, in its better direction
};
Nuisance best_nuisance(const std::vector<std::vector<std::pair<std::string, double>>>& features, const std::vector<bool>& positive,
                       Rng rng);
Json to_json(const Nuisance& nuisance);

}  // namespace assay
