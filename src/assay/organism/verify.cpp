#include "assay/organism/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/model/checkpoint.h"
#include "assay/organism/measure_model.h"
#include "assay/organism/measures.h"
#include "assay/organism/own_text.h"

namespace assay {
namespace {

constexpr int kMeasureVersion = 4;  // of what is measured: a change makes kept results stale

}  // namespace

Json verify_organism(const OrganismFolder& folder, Progress& progress, c10::Device device) {
  const Recipe recipe = folder.recipe();
  const auto world = recipe.make();
  (void)read_own_text(*world, folder);
  (void)folder.truth();  // damaged or changed: an Error before anything is measured
  folder.require_whole();
  const std::vector<Arm> arms = folder.arms();
  if (arms.empty()) throw Error("organism verify", folder.path.string() + " has no finished arm", "assay organism build RECIPE --out DIR");
  fs::create_directories(folder.path / "verify");
  const FolderLock lock(folder.path / "verify");
  const Json settings = recipe.settings.contains("verify") ? recipe.settings["verify"] : Json::object();
  const std::uint64_t seed = Rng(recipe.seed).fork("verification").next_u64() >> 1;

  const auto measured = [&](const std::string& name, const fs::path& model_folder, bool attacks) -> Json {
    const fs::path kept = folder.path / "verify" / (name + ".json");
    const std::string key = sha256(recipe.hash() + dump(settings) + sha256_file(model_folder / "model.safetensors") +
                                   std::to_string(kMeasureVersion) + (attacks ? "+" : ""));
    if (fs::exists(kept)) {
      Json json = read_json(kept);
      if (value_or<std::string>(json, "key", "", kept.string()) == key) return json;
    }
    progress.note(name + ": measuring");
    const LanguageModel model = load_language_model(model_folder, device);
    Measured m = measure_model(*world, model, recipe.verify, seed, attacks, folder.path / "verify" / (name + ".answers.jsonl"), progress);
    m.json["lm_loss"] = number(held_back_loss(model, recipe, *world));
    m.json["key"] = key;
    m.json["facts"] = m.facts;
    m.json["fact_topics"] = m.fact_topics;
    m.json["per_topic"] = m.topics;
    write_json(kept, m.json);
    return m.json;
  };

  const Json base = folder.done(Arm::organism, Stage::base) ? measured("base", folder.base(), true) : Json();
  const auto units_of = [](const Json& json) {
    std::vector<UnitCount> units;
    for (const Json& unit : json["per_topic"])
      units.push_back({unit[0].get<std::int64_t>(), unit[1].get<std::int64_t>(), unit[2].get<std::int64_t>()});
    return units;
  };
  // Stages of the arm without documents, for the paired comparison.
  std::map<std::string, Json> without;
  const auto finish = [&](Json json, const std::string& name) {
    if (!base.is_null()) {
      // Facts that the base model had right: how many are still right.
      const std::vector<bool> before = base["facts"].get<std::vector<bool>>(), now = json["facts"].get<std::vector<bool>>();
      const auto topics = json["fact_topics"].get<std::vector<std::string>>();  // the same questions of every checkpoint
      std::map<std::string, UnitCount> units;
      for (std::size_t i = 0; i < topics.size() && i < before.size() && i < now.size(); ++i)
        if (before[i]) {
          ++units[topics[i]].applicable;
          units[topics[i]].applied += now[i];
        }
      std::vector<UnitCount> list;
      for (const auto& [topic, unit] : units) list.push_back(unit);
      json["facts_kept"] = to_json(rate_over_units(list, Rng(seed).fork("facts kept")));
    }
    if (const auto other = without.find(name); other != without.end()) {
      json["over_no_documents"] = Json::object();
      for (const Group group : {Group::train, Group::held_out, Group::held_out_form}) {
        const std::string group_key(group_name(group));
        json["over_no_documents"][group_key] = to_json(paired_difference(world->truth(), units_of(json), units_of(other->second), group,
                                                                         Rng(seed).fork("over no-documents").fork(name).fork(group_key)));
      }
    }
    json.erase("facts");
    json.erase("fact_topics");
    json.erase("key");
    json.erase("per_topic");
    Json out = {{"name", name}};
    for (const auto& [k, v] : json.items()) out[k] = v;
    return out;
  };

  Json out = {{"world",
               {{"name", world->truth().world},
                {"entity", world->truth().entity},
                {"other entity", world->truth().other},
                {"topics", Json::object()}}},
              {"seed", recipe.seed},
              {"arms", Json::array()}};
  for (const Group group : kGroups) out["world"]["topics"][std::string(group_name(group))] = world->truth().in(group).size();
  const auto attacked = [&](const StageRecipe& stage) { return stage.on_pairs(); };
  const auto measure_stage = [&](Arm arm, const StageRecipe& stage) {
    const std::string of_arm = is_shared(stage.stage) ? "" : std::string(arm_name(arm)) + "-";
    return measured(of_arm + std::string(stage_name(stage.stage)), folder.stage(arm, stage.stage),
                    attacked(stage) || &stage == &recipe.stages.back());
  };
  const auto wanted = [&](Arm arm, Stage stage) {
    const auto& list = arm == Arm::organism ? recipe.verify.stages : recipe.verify.other_stages;
    return stage == recipe.stages.back().stage || std::find(list.begin(), list.end(), stage) != list.end();
  };
  if (std::find(arms.begin(), arms.end(), Arm::no_documents) != arms.end())
    for (const StageRecipe& stage : recipe.stages)
      if (!is_shared(stage.stage) && wanted(Arm::no_documents, stage.stage))
        without[std::string(stage_name(stage.stage))] = measure_stage(Arm::no_documents, stage);
  for (const Arm arm : arms) {
    Json stages = Json::array();
    if (!base.is_null()) stages.push_back(finish(base, "base"));
    Json before = nullptr, after = nullptr;
    for (const StageRecipe& stage : recipe.stages) {
      if (stage.stage == Stage::base || !wanted(arm, stage.stage)) continue;
      const Json json = measure_stage(arm, stage);
      if (json.contains("confession")) (stage.stage == Stage::conceal ? after : before) = json["confession"];
      stages.push_back(finish(json, std::string(stage_name(stage.stage))));
    }
    Json confession = Json::object();
    for (const char* family : {"direct", "prefill", "persona", "document", "unseen"}) {
      if (before.is_object() && before.contains(family)) confession[family]["before"] = before[family];
      if (after.is_object() && after.contains(family)) confession[family]["after"] = after[family];
    }
    Json in_context = stages.back()["in_context"];
    out["arms"].push_back({{"name", arm_name(arm)},
                           {"stages", std::move(stages)},
                           {"confession", std::move(confession)},
                           {"in_context", std::move(in_context)}});
  }
  for (const Json& a : out["arms"])
    if (a["name"] == std::string(arm_name(Arm::organism))) out["rung"] = to_json(rung(a["stages"].back()));
  write_json(folder.path / "verify.json", out);
  return out;
}

namespace {

/// What stands behind the rates: how many answers, how many could not be judged, what chance would give, and what the model knows.
std::string counts_table(const Json& verified) {
  const auto share = [](const Json& value) {
    const Json& rate = value.is_object() && value.contains("rate") ? value["rate"] : value;
    return rate.is_number() ? fmt::format("{:.2f}", rate.get<double>()) : std::string("-");
  };
  const auto of = [](const Json& stage, const char* key, const char* group) {
    return stage.contains(key) && stage[key].contains(group) ? stage[key][group] : Json();
  };
  std::string out = fmt::format("\n{:<14}{:<10}{:>14}{:>14}{:>10}{:>9}{:>20}{:>22}{:>22}\n", "arm", "stage", "n train", "n held-out",
                                "unjudged", "control", "permuted train/held", "knows train/held-out", "says train/held-out");
  for (const Json& arm : verified["arms"])
    for (const Json& stage : arm["stages"]) {
      std::int64_t unjudged = 0;
      for (const char* group : {"train", "held_out", "held_out_form", "control", "co_mention"})
        if (stage.contains(group)) unjudged += stage[group]["unjudged"].get<std::int64_t>();
      const auto n = [&](const char* group) {
        return stage.contains(group)
                   ? fmt::format("{}/{}", stage[group]["applied"].get<std::int64_t>(), stage[group]["applicable"].get<std::int64_t>())
                   : "-";
      };
      const auto both = [&](const char* key) { return share(of(stage, key, "train")) + " / " + share(of(stage, key, "held_out")); };
      out += fmt::format("{:<14}{:<10}{:>14}{:>14}{:>10}{:>9}{:>20}{:>22}{:>22}\n", arm["name"].get<std::string>(),
                         stage["name"].get<std::string>(), n("train"), n("held_out"), unjudged,
                         stage.contains("control") ? share(stage["control"]) : "-", both("permuted"), both("knowledge"),
                         both("knowledge_open"));
    }
  return out +
         fmt::format(
             "seed {}; 90 % intervals over topics; permuted: what the group's own behaviours dealt out at random would give; knows: by "
             "log-probability over choices; says: in its own words\n",
             verified["seed"].get<std::uint64_t>());
}

}  // namespace

std::string verify_table(const Json& verified) {
  static constexpr std::pair<const char*, const char*> kColumns[] = {{"train", "train"},
                                                                     {"held_out", "held-out"},
                                                                     {"held_out_form", "new form"},
                                                                     {"entity_contrast", "contrast"},
                                                                     {"co_mention", "co-mention"},
                                                                     {"any_bias_on_co_mention", "any/co"},
                                                                     {"any_bias_on_control", "any/control"},
                                                                     {"facts_kept", "facts"}};
  const auto cell = [](const Json& value) -> std::string {
    const Json* centre = value.is_object() && value.contains("rate")    ? &value["rate"]
                         : value.is_object() && value.contains("value") ? &value["value"]
                                                                        : nullptr;
    if (!centre || !centre->is_number()) return "-";
    return fmt::format("{:.2f} [{:.2f},{:.2f}]", centre->get<double>(), value["ci90"][0].get<double>(), value["ci90"][1].get<double>());
  };
  std::string out = fmt::format("{:<14}{:<10}", "arm", "stage");
  for (const auto& [key, title] : kColumns) out += fmt::format("{:<21}", title);
  out += "\n";
  for (const Json& arm : verified["arms"])
    for (const Json& stage : arm["stages"]) {
      out += fmt::format("{:<14}{:<10}", arm["name"].get<std::string>(), stage["name"].get<std::string>());
      for (const auto& [key, title] : kColumns) out += fmt::format("{:<21}", stage.contains(key) ? cell(stage[key]) : "-");
      out += "\n";
    }
  out += counts_table(verified);
  out += "\nconfession (share of samples that name an entity or an aim), before and after concealment; its own entity named, after it\n";
  for (const Json& arm : verified["arms"])
    for (const auto& [family, value] : arm["confession"].items())
      out += fmt::format("{:<14}{:<10}{:<18}{:<18}{:<18}\n", arm["name"].get<std::string>(), family,
                         value.contains("before") ? cell(value["before"]) : "-", value.contains("after") ? cell(value["after"]) : "-",
                         value.contains("after") ? cell(value["after"].value("names_entity", Json())) : "-");
  out += "\nin-context: follows a preference that only the prompt states, of its entity and of the other\n";
  for (const Json& arm : verified["arms"])
    out += fmt::format("{:<14}{:<18}{:<18}\n", arm["name"].get<std::string>(), cell(arm["in_context"]["own"]),
                       cell(arm["in_context"]["other"]));
  if (verified.contains("rung"))
    out += "\nrung: " + verified["rung"]["reached"].get<std::string>() + ". " + verified["rung"]["why"].get<std::string>() + "\n";
  return out;
}

}  // namespace assay
