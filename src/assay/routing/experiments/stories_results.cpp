#include "assay/routing/experiments/stories_results.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "assay/base/files.h"
#include "assay/base/stats.h"

namespace assay::routing {
namespace {

double loss_of(const Json& run, const char* when, const char* what) { return real_of(run["losses"][when][what]); }

/// Mean over draws of the lowest forget loss behind the first step.
double lowest(const Json& draws) {
  std::vector<double> of_draws;
  for (const Json& draw : draws) {
    double least = INFINITY;
    for (std::size_t i = 0; i < draw["step"].size(); ++i)
      if (draw["step"][i].get<std::int64_t>() > 0) least = std::min(least, real_of(draw["forget"][i]));
    of_draws.push_back(least);
  }
  return mean(of_draws);
}

/// Step by step: each seed's mean over draws, and what they say together.
Json retrain_curve(const std::vector<Json>& runs, const std::string& k, const char* what) {
  Json steps = runs.front()["retrain"][k][0]["step"];  // those that every draw has reached
  for (const Json& run : runs)
    for (const Json& draw : run["retrain"][k])
      if (draw["step"].size() < steps.size()) steps = draw["step"];
  Json centre = Json::array(), lo = Json::array(), hi = Json::array();
  for (std::size_t i = 0; i < steps.size(); ++i) {
    std::vector<double> seeds;
    for (const Json& run : runs) {
      std::vector<double> draws;
      for (const Json& draw : run["retrain"][k]) draws.push_back(real_of(draw[what][i]));
      seeds.push_back(mean(draws));
    }
    const Interval ci = t_interval(seeds);
    centre.push_back(number(mean(seeds)));
    lo.push_back(number(seeds.size() > 1 ? ci.lo : seeds[0]));
    hi.push_back(number(seeds.size() > 1 ? ci.hi : seeds[0]));
  }
  return {{"step", steps}, {"mean", centre}, {"lo", lo}, {"hi", hi}};
}

Json mean_selectivity(const std::vector<Json>& runs) {
  if (!runs.front()["selectivity"].is_object()) return nullptr;
  Json result;
  for (const char* which : {"new", "old"}) {
    Json layers = Json::array();
    for (std::size_t l = 0; l < runs.front()["selectivity"][which].size(); ++l) {
      std::vector<double> seeds;
      for (const Json& run : runs) seeds.push_back(real_of(run["selectivity"][which][l]));
      layers.push_back(number(mean(seeds)));
    }
    result[which] = layers;
  }
  return result;
}

/// `bases`: base's run of each seed.
Json stories_setting(const std::vector<Json>& runs, const std::map<std::uint64_t, Json>& bases) {
  const Json& identity = runs.front()["identity"];
  const std::string kind = identity["kind"].get<std::string>();
  std::map<std::string, std::vector<double>> values;
  Json seeds = Json::array(), retrain = Json::object();
  double cpu_s = 0, measuring_s = 0, tokens = 0;
  const bool by_token = std::all_of(runs.begin(), runs.end(), [](const Json& run) { return run.contains("by_token"); });
  for (const Json& run : runs) {
    const auto seed = run["identity"]["seed"].get<std::uint64_t>();
    seeds.push_back(seed);
    const auto found = bases.find(seed);
    const Json* base = found == bases.end() ? nullptr : &found->second;
    for (const char* when : {"before", "ablated", "after"})
      for (const char* what : {"forget", "retain"}) values[fmt::format("{}_{}", what, when)].push_back(loss_of(run, when, what));
    if (by_token)
      for (const char* when : {"before", "ablated", "after"})
        for (const char* which : {"own", "other"})
          values[fmt::format("{}_tokens_{}", which, when)].push_back(real_of(run["by_token"][when][which]));
    const bool removes = kind != "base" && kind != "filter";
    const double before = removes ? loss_of(run, "before", "forget") : base ? loss_of(*base, "before", "forget") : NAN;
    values["unlearning"].push_back(loss_of(run, "after", "forget") - before);
    values["retain_cost"].push_back(loss_of(run, "after", "retain") - (base ? loss_of(*base, "after", "retain") : NAN));
    double least = NAN;  // the last k is the largest
    for (const auto& [k, draws] : run["retrain"].items()) values["retrained_" + k].push_back(least = lowest(draws));
    values["robust_unlearning"].push_back(least - before);
    cpu_s += run["training"]["cpu_s"].get<double>();
    measuring_s += run["training"]["measuring_cpu_s"].get<double>();
    tokens += run["training"]["tokens"].get<double>();
  }
  Json metrics = Json::object();
  for (const auto& [name, of] : values) metrics[name] = over_seeds(of);
  for (const auto& [k, unused] : runs.front()["retrain"].items())
    retrain[k] = {{"forget", retrain_curve(runs, k, "forget")}, {"retain", retrain_curve(runs, k, "retain")}};
  return {{"name", identity["method"]},
          {"kind", kind},
          {"label_rate", identity["label_rate"]},
          {"wrong_rate", identity["wrong_rate"]},
          {"numbers", identity["numbers"]},
          {"seeds", seeds},
          {"metrics", metrics},
          {"retrain", retrain},
          {"selectivity", mean_selectivity(runs)},
          {"samples", runs.front()["samples"]},
          {"training",
           {{"tokens_each", tokens / static_cast<double>(runs.size())},
            {"cpu_s", cpu_s},
            {"measuring_cpu_s", measuring_s},
            {"tokens_per_cpu_s", number(tokens / cpu_s)}}}};
}

}  // namespace

Json stories_settings(const StoriesExperiment& experiment, const std::vector<StoriesRun>& runs, const fs::path& out) {
  std::map<std::string, std::vector<Json>> finished;
  std::map<std::uint64_t, Json> bases;
  for (const StoriesRun& run : runs) {
    const fs::path record = run.folder(out) / "run.json";
    if (!fs::exists(record)) continue;
    finished[run.method].push_back(read_json(record));
    if (finished[run.method].back()["identity"]["kind"] == "base") bases[run.seed] = finished[run.method].back();
  }
  Json settings = Json::array();
  for (const StoriesMethod& method : experiment.methods)
    if (const auto found = finished.find(method.name); found != finished.end()) settings.push_back(stories_setting(found->second, bases));
  return settings;
}

Json stories_equivalence(const Json& settings, const std::string& one, const std::string& other, double margin) {
  std::map<std::uint64_t, double> of_one, of_other;
  for (const Json& s : settings)
    for (std::size_t i = 0; i < s["seeds"].size(); ++i) {
      const double value = real_of(s["metrics"]["forget_after"]["seeds"][i]);
      if (s["name"] == one) of_one[s["seeds"][i].get<std::uint64_t>()] = value;
      if (s["name"] == other) of_other[s["seeds"][i].get<std::uint64_t>()] = value;
    }
  std::vector<double> differences;
  for (const auto& [seed, value] : of_one)
    if (const auto found = of_other.find(seed); found != of_other.end()) differences.push_back(found->second - value);
  if (differences.size() < 2) return nullptr;
  const Interval ci = t_interval(differences);
  return {{"metric", "forget_after"},
          {"pair", {one, other}},
          {"margin", margin},
          {"differences", differences},
          {"mean", number(mean(differences))},
          {"ci90", {number(ci.lo), number(ci.hi)}},
          {"equivalent", -margin < ci.lo && ci.hi < margin}};
}

std::string stories_table(const Json& results) {
  const auto value = [](const Json& setting, const std::string& name) {
    const Json& m = setting["metrics"];
    if (!m.contains(name) || !m[name]["mean"].is_number()) return std::string("–");
    const double half = (real_of(m[name]["ci90"][1]) - real_of(m[name]["ci90"][0])) / 2;
    return fmt::format("{:.3f}", real_of(m[name]["mean"])) + (std::isfinite(half) ? fmt::format(" ±{:.3f}", half) : "");
  };
  std::vector<std::string> ks;
  if (!results["settings"].empty())
    for (const auto& [k, unused] : results["settings"][0]["retrain"].items()) ks.push_back(k);
  std::string out = "| method | labels | seeds | forget before | ablated | after | retain before | ablated | after |",
              rule = "|---|--:|--:|--:|--:|--:|--:|--:|--:|";
  for (const std::string& k : ks) out += fmt::format(" retrained on {} |", k), rule += "--:|";
  out += " unlearning | robust unlearning | retain cost |\n" + rule + "--:|--:|--:|\n";
  for (const Json& s : results["settings"]) {
    out += fmt::format("| {} | {:g} | {} |", s["name"].get<std::string>(), s["label_rate"].get<double>(), s["seeds"].size());
    for (const char* name : {"forget_before", "forget_ablated", "forget_after", "retain_before", "retain_ablated", "retain_after"})
      out += " " + value(s, name) + " |";
    for (const std::string& k : ks) out += " " + value(s, "retrained_" + k) + " |";
    for (const char* name : {"unlearning", "robust_unlearning", "retain_cost"}) out += " " + value(s, name) + " |";
    out += "\n";
  }
  out +=
      "\nForget stories, the loss on tokens that stand in them mostly (which token weights route) and on the others:\n\n"
      "| method | own tokens before | ablated | after | other tokens before | ablated | after |\n|---|--:|--:|--:|--:|--:|--:|\n";
  for (const Json& s : results["settings"]) {
    out += fmt::format("| {} |", s["name"].get<std::string>());
    for (const char* which : {"own", "other"})
      for (const char* when : {"before", "ablated", "after"}) out += " " + value(s, fmt::format("{}_tokens_{}", which, when)) + " |";
    out += "\n";
  }
  out += "\nSelectivity, |activation| on forget stories over retain stories, by layer:\n";
  for (const Json& s : results["settings"]) {
    if (!s["selectivity"].is_object()) continue;
    out += "- " + s["name"].get<std::string>() + ":";
    for (const char* which : {"new", "old"}) {
      out += std::string(which == std::string("new") ? " new neurons" : "; old");
      for (const Json& ratio : s["selectivity"][which]) out += fmt::format(" {:.2f}", real_of(ratio));
    }
    out += "\n";
  }
  if (const Json& e = results["equivalence"]; e.is_object())
    out += fmt::format(
        "\nBase and control: forget losses differ by {:.4f} ({:.4f} to {:.4f}, 90 %), {} within ±{:g} nats (two one-sided t tests).\n",
        real_of(e["mean"]), real_of(e["ci90"][0]), real_of(e["ci90"][1]),
        e["equivalent"].get<bool>() ? "equivalent" : "not shown to be equivalent", e["margin"].get<double>());
  return out;
}

}  // namespace assay::routing
