#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "assay/audit/fresh.h"
#include "assay/audit/grader.h"
#include "assay/organism/build.h"

namespace assay {

/// A grader for one arm of a built organism: the arm's last stage and the clean arm's (where that was not built, the base stage) answer the
/// fresh prompts. Answers are kept in DIR/grading.
class ArmGrader {
 public:
  ArmGrader(const OrganismFolder& folder, Arm arm, const FreshOptions& options, Progress& progress);

  /// As `game grade` prints it (COMMANDS.md), the dumb submissions' scores and `reference` beside it.
  [[nodiscard]] Json grade(const Submission& submission) const;
  [[nodiscard]] const Grader& grader() const { return *grader_; }

 private:
  std::unique_ptr<World> world_;
  std::unique_ptr<Grader> grader_;
  std::string reference_;
  Json dumb_ = Json::object();
};

}  // namespace assay
