#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/base/progress.h"
#include "assay/organism/build.h"

namespace assay {

struct DemoOptions {
  std::filesystem::path out;
  int jobs = 2;                   ///< arms trained and audits run side by side, each in a process with one thread
  std::int64_t further_arms = 2;  ///< drawn by the recipe's seed, besides the organism and no-documents
  std::int64_t audit_samples = 12000;
  std::vector<std::string> build_command;  ///< "organism build RECIPE --out DIR ..." of this program, to which "--arm NAME" is added
  std::string program;                     ///< this program, for "audit scripted"
};

/// The main job: builds the organism and its arms, verifies them, lets the scripted auditor audit each target with and without its
/// documents, grades. OUT holds organism/, targets/ (what auditors get), audits/; each part is kept there, so that a stopped demo goes on
/// where it was. Returns the results (docs/reference/results.md).
Json run_demo(const Recipe& recipe, const DemoOptions& options, Progress& progress);

/// The arms of a demo: organism, no-documents, and others drawn by seed.
std::vector<Arm> demo_arms(std::uint64_t seed, std::int64_t further);

}  // namespace assay
