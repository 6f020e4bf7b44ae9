#include "assay/report/stories_report.h"

#include <algorithm>
#include <cmath>

#include "assay/base/stats.h"
#include "assay/report/curves.h"
#include "assay/report/html.h"

namespace assay {
namespace {

using html::element;
using html::escape;
using html::fixed;

std::vector<double> story_numbers(const Json& values) {
  std::vector<double> out;
  for (const Json& v : values) out.push_back(real_of(v));
  return out;
}

/// A colour for each line of the table, in order; told apart by colour-blind readers (Okabe and Ito), then grey.
std::string line_colour(std::size_t i) {
  static const std::vector<std::string> colours = {"#7a7a7a", "#56b4e9", "#c2410c", "#009e73", "#cc79a7", "#b58900", "#0072b2", "#e69f00"};
  return i < colours.size() ? colours[i] : "#999999";
}

std::string story_cell(const Json& setting, const std::string& name) {
  const Json& metrics = setting["metrics"];
  if (!metrics.contains(name) || !metrics[name]["mean"].is_number()) return "<span class=\"soft\">–</span>";
  const Json& m = metrics[name];
  std::string seeds;
  for (const Json& s : m["seeds"]) seeds += (seeds.empty() ? "" : ", ") + fixed(real_of(s), 3);
  const double half = (real_of(m["ci90"][1]) - real_of(m["ci90"][0])) / 2;
  return "<span title=\"seeds: " + seeds + "\">" + fixed(real_of(m["mean"]), 3) +
         (std::isfinite(half) ? " <span class=\"soft\">±" + fixed(half, 3) + "</span>" : "") + "</span>";
}

std::string chip(const Json& setting, std::size_t i) {
  return "<span class=\"chip\" style=\"background:" + line_colour(i) + "\">" + escape(setting["name"].get<std::string>()) + "</span>";
}

std::string losses(const Json& results) {
  std::vector<std::vector<std::string>> rows;
  std::size_t i = 0;
  for (const Json& s : results["settings"]) {
    std::vector<std::string> row = {chip(s, i++), fixed(100 * s["label_rate"].get<double>(), 0) + " %", std::to_string(s["seeds"].size())};
    for (const char* name : {"forget_before", "forget_ablated", "forget_after", "retain_before", "retain_after", "unlearning",
                             "robust_unlearning", "retain_cost"})
      row.push_back(story_cell(s, name));
    rows.push_back(std::move(row));
  }
  return html::table({"method", "labels", "seeds", "forget: before", "ablated", "after", "retain: before", "after", "unlearning",
                      "robust unlearning", "retain cost"},
                     rows, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
}

std::string retraining(const Json& results, const std::string& k) {
  charts::Curves chart;
  chart.x_label = "steps of retraining on " + k + (k == "1" ? " forget story" : " forget stories");
  chart.y_lo = INFINITY, chart.y_hi = -INFINITY;
  std::size_t i = 0;
  for (const Json& s : results["settings"]) {
    const Json& line = s["retrain"][k]["forget"];
    const auto y = story_numbers(line["mean"]);
    for (const double value : y)
      if (std::isfinite(value)) chart.y_lo = std::min(chart.y_lo, value), chart.y_hi = std::max(chart.y_hi, value);
    const bool bands = s["seeds"].size() > 1;
    chart.series.push_back({s["name"].get<std::string>(), line_colour(i++), story_numbers(line["step"]), y,
                            bands ? story_numbers(line["lo"]) : std::vector<double>(),
                            bands ? story_numbers(line["hi"]) : std::vector<double>(), s["kind"] == "base"});
  }
  if (!(chart.y_lo < chart.y_hi)) return "";
  const double margin = .05 * (chart.y_hi - chart.y_lo);
  chart.y_lo -= margin, chart.y_hi += margin;
  return charts::curves(chart);
}

std::string selectivity_table(const Json& results) {
  std::vector<std::vector<std::string>> rows;
  std::size_t layers = 0, i = 0;
  for (const Json& s : results["settings"]) {
    const std::size_t at = i++;
    if (!s["selectivity"].is_object()) continue;
    for (const char* which : {"new", "old"}) {
      std::vector<std::string> row = {chip(s, at), which};
      for (const Json& ratio : s["selectivity"][which]) row.push_back(fixed(real_of(ratio)));
      layers = std::max(layers, row.size() - 2);
      rows.push_back(std::move(row));
    }
  }
  if (rows.empty()) return "";
  std::vector<std::string> head = {"method", "neurons"};
  std::vector<std::size_t> numeric;
  for (std::size_t l = 0; l < layers; ++l) numeric.push_back(head.size()), head.push_back("layer " + std::to_string(l));
  return "<h2>How selective the new neurons are</h2>" + html::table(head, rows, numeric) +
         element("p", "caption", "Mean |activation| on forget stories over that on retain stories; validation stories, true labels.");
}

std::string writings(const Json& results) {
  std::string out;
  for (const Json& s : results["settings"])
    for (const char* when : {"before", "after"})
      for (const Json& sample : s["samples"][when])
        out += "<div class=\"quote\"><div class=\"who\">" + escape(s["name"].get<std::string>()) + ", " + when +
               "</div><div class=\"said\"><mark>" + escape(sample["prompt"].get<std::string>()) + "</mark>" +
               escape(sample["text"].get<std::string>()) + "</div></div>";
  return out;
}

}  // namespace

std::string stories_report(const Json& results) {
  std::string body = "<h1>Stories without a concept: expand, route, ablate</h1>";
  body +=
      element("p", "lede",
              "A model learns from children's stories. Those about one concept teach new neurons and un-teach the others; the new "
              "neurons are then cut off (arXiv 2410.04332, section 4.2.2). What is left of the concept, what does it cost, and how soon "
              "does it come back?");
  body += losses(results);
  body +=
      element("p", "caption",
              "Losses on validation stories, nats per token; ± is half of a 90 % t interval over seeds, every seed on hover. Unlearning: "
              "forget loss after minus before; robust unlearning: the lowest forget loss while retraining on the most stories, minus "
              "before; retain cost: retain loss minus base's.");
  if (const Json& e = results["equivalence"]; e.is_object())
    body += element("p", "",
                    "Base and control differ by " + fixed(real_of(e["mean"]), 4) +
                        " in the forget loss (90 %: " + fixed(real_of(e["ci90"][0]), 4) + " to " + fixed(real_of(e["ci90"][1]), 4) +
                        "): " + (e["equivalent"].get<bool>() ? "<span class=\"good\">equivalent</span>" : "not shown to be equivalent") +
                        " within ±" + dump(e["margin"]) + " nats.");
  body += "<h2>Retraining</h2>";
  if (!results["settings"].empty())
    for (const auto& [k, unused] : results["settings"][0]["retrain"].items()) body += retraining(results, k);
  body += element("p", "caption", "Forget loss on other validation stories; bands: 90 % t intervals over seeds.");
  body += selectivity_table(results);
  body += "<h2>What they write</h2><details><summary>The first seed's models, temperature 0.8</summary>" + writings(results) + "</details>";
  body += "<h2>How to repeat it</h2><pre>" + escape(results["command"].get<std::string>()) + "</pre>";
  return html::page("TinyStories: expand, route, ablate", body);
}

}  // namespace assay
