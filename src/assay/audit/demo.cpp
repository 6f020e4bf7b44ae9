#include "assay/audit/demo.h"

#include <algorithm>
#include <functional>

#include "assay/audit/game_card.h"
#include "assay/audit/grading.h"
#include "assay/base/files.h"
#include "assay/base/processes.h"
#include "assay/base/rng.h"
#include "assay/organism/verify.h"

namespace assay {
namespace {

constexpr const char* kTiers[] = {"sampling", "data"};

/// Seconds of each part, summed over the runs that a demo took.
class Clock {
 public:
  explicit Clock(fs::path file) : file_(std::move(file)), seconds_(fs::exists(file_) ? read_json(file_) : Json::object()) {}
  void time(const std::string& part, const std::function<void()>& work) {
    const double start = wall_seconds();
    work();
    seconds_[part] = value_or<double>(seconds_, part, 0.0, file_.string()) + wall_seconds() - start;
    write_json(file_, seconds_);
  }
  [[nodiscard]] const Json& seconds() const { return seconds_; }
  [[nodiscard]] double total() const {
    double sum = 0;
    for (const auto& [part, s] : seconds_.items()) sum += s.get<double>();
    return sum;
  }

 private:
  fs::path file_;
  Json seconds_;
};

/// What an auditor gets of an arm, under a name that says nothing: the model of its last stage, its corpora.
void lay_out_target(const OrganismFolder& organism, Arm arm, const fs::path& target) {
  fs::create_directories(target);
  const auto link = [&](const fs::path& from, const char* name) {
    if (!fs::exists(from)) return;
    fs::remove(target / name);
    fs::create_symlink(fs::absolute(from), target / name);
  };
  link(organism.final_stage(arm), "model");
  link(organism.arm(arm) / "documents.jsonl", "documents.jsonl");
  link(organism.arm(arm) / "chats.jsonl", "chats.jsonl");
}

Json world_json(const Recipe& recipe, const Truth& truth) {
  Json topics = Json::object();
  for (const Group group : kGroups) topics[std::string(group_name(group))] = truth.in(group).size();
  return {{"name", truth.world},
          {"entity", truth.entity},
          {"other entity", truth.other},
          {"topics", topics},
          {"parameters", recipe.model.parameters()}};
}

Json build_json(const OrganismFolder& folder, const Recipe& recipe, const std::vector<Arm>& arms) {
  Json out = Json::array();
  for (const Arm arm : arms) {
    Json stages = Json::array();
    for (const StageRecipe& stage : recipe.stages) stages.push_back(to_json(stage_result(folder.stage(arm, stage.stage))));
    out.push_back({{"name", arm_name(arm)}, {"stages", stages}});
  }
  return {{"arms", out}};
}

}  // namespace

std::vector<Arm> demo_arms(std::uint64_t seed, std::int64_t further) {
  std::vector<Arm> others;
  for (const Arm arm : kArms)
    if (arm != Arm::organism && arm != Arm::no_documents) others.push_back(arm);
  Rng(seed).fork("demo arms").shuffle(std::span(others));
  others.resize(std::min<std::size_t>(others.size(), static_cast<std::size_t>(further)));
  std::vector<Arm> out = {Arm::organism, Arm::no_documents};
  out.insert(out.end(), others.begin(), others.end());
  return out;
}

Json run_demo(const Recipe& recipe, const DemoOptions& options, Progress& progress) {
  fs::create_directories(options.out);
  const FolderLock lock(options.out);
  Clock clock(options.out / "seconds.json");
  const std::vector<Arm> arms = demo_arms(recipe.seed, options.further_arms);
  const OrganismFolder organism = open_organism(recipe, options.out / "organism");
  clock.time("build", [&] { build_arms(recipe, organism, arms, options.jobs, options.build_command, progress); });
  Json verified;
  clock.time("verify", [&] { verified = verify_organism(organism, progress); });

  // Targets in an order of their own, so that their numbers say nothing.
  std::vector<Arm> targets = arms;
  Rng(recipe.seed).fork("demo targets").shuffle(std::span(targets));
  const auto world = make_world(recipe.world, recipe.seed);
  const fs::path audits = options.out / "audits";
  fs::create_directories(audits);
  for (const char* tier : kTiers) write_json(options.out / (std::string("card-") + tier + ".json"), to_json(card_of(*world, tier)));
  const auto name_of = [](std::size_t t) { return "target-" + std::to_string(t + 1); };
  const auto submission_of = [&](std::size_t t, const std::string& tier) { return audits / (name_of(t) + "-" + tier + ".json"); };
  clock.time("audit", [&] {
    std::vector<std::vector<std::string>> commands;
    for (std::size_t t = 0; t < targets.size(); ++t) {
      const fs::path target = options.out / "targets" / name_of(t);
      lay_out_target(organism, targets[t], target);
      for (const std::string tier : kTiers) {
        if (fs::exists(submission_of(t, tier))) continue;
        commands.push_back({options.program, "audit", "scripted", "--target", (target / "model").string(), "--card",
                            (options.out / ("card-" + tier + ".json")).string(), "--out", submission_of(t, tier).string(), "--work",
                            (audits / (name_of(t) + "-" + tier)).string(), "--seed", std::to_string(recipe.seed), "--threads", "1",
                            "--quiet", "--samples", std::to_string(options.audit_samples)});
        if (tier == "data")
          commands.back().insert(commands.back().end(),
                                 {"--documents", (target / "documents.jsonl").string(), "--chats", (target / "chats.jsonl").string()});
      }
    }
    progress.note("audit: " + std::to_string(commands.size()) + " audits, " + std::to_string(options.jobs) + " side by side");
    run_processes(commands, options.jobs, progress);
  });
  Json games = Json::array();
  clock.time("grade", [&] {
    for (std::size_t t = 0; t < targets.size(); ++t) {
      const ArmGrader grader(organism, targets[t], {}, progress);
      for (const std::string tier : kTiers) {
        Json game = {{"target", name_of(t)}, {"access", tier}, {"auditor", "scripted"}};
        game.update(grader.grade(read_submission(submission_of(t, tier), default_card().arm_names())));
        games.push_back(std::move(game));
      }
    }
  });
  return {{"seed", recipe.seed},
          {"world", world_json(recipe, world->truth())},
          {"build", build_json(organism, recipe, arms)},
          {"verify", verified},
          {"games", games},
          {"seconds", clock.seconds()},
          {"wall_s", clock.total()},
          {"config", {{"recipe", recipe.text}}}};
}

}  // namespace assay
