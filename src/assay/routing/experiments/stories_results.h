#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "assay/routing/experiments/stories_run.h"

namespace assay::routing {

/// What the finished runs of a folder say, line by line of the table: {"name", "kind", "label_rate", "seeds", "metrics": {name: {"mean",
/// "ci90", "seeds"}}, "retrain": {k: {"min": metric, "curve"}}, "selectivity", "samples", "training"}. Intervals are t intervals over
/// seeds. unlearning = forget loss after - before, robust_unlearning = the lowest forget loss while retraining on the most stories -
/// before, retain_cost = retain loss after - base's. base and filter remove nothing: their "before" is base's of the same seed (as in the
/// paper).
Json stories_settings(const StoriesExperiment& experiment, const std::vector<StoriesRun>& runs, const std::filesystem::path& out);

/// Are two methods' forget losses the same within a margin? Two one-sided t tests at 5 % on the differences by seed: yes where their 90 %
/// interval lies within (-margin, margin). {"metric", "pair", "margin", "differences", "mean", "ci90", "equivalent"}; null without two
/// seeds.
Json stories_equivalence(const Json& settings, const std::string& one, const std::string& other, double margin);

/// For people: markdown.
std::string stories_table(const Json& results);

}  // namespace assay::routing
