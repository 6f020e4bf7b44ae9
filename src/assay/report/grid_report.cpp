#include "assay/report/grid_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "assay/base/stats.h"
#include "assay/report/curves.h"
#include "assay/report/html.h"

namespace assay {
namespace {

using html::element;
using html::escape;
using html::fixed;

std::vector<double> grid_numbers(const Json& values) {
  std::vector<double> out;
  for (const Json& v : values) out.push_back(real_of(v));
  return out;
}

std::string method_colour(const std::string& method) {
  static const std::map<std::string, std::string> colours = {{"routed", "#c2410c"},         {"naive", "#56b4e9"},
                                                             {"filtering", "#009e73"},      {"oracle", "#7a7a7a"},
                                                             {"routed-no-gate", "#cc79a7"}, {"gate-no-routing", "#b58900"}};
  const auto found = colours.find(method);
  return found == colours.end() ? "#555555" : found->second;
}

std::string level_text(const Json& level) { return fixed(100 * level.get<double>(), 1) + " %"; }

std::set<double> levels_of(const Json& results) {
  std::set<double> levels;
  for (const Json& s : results["settings"]) levels.insert(s["level"].get<double>());
  return levels;
}

std::string metric_cell(const Json& setting, const char* name) {
  const Json& metrics = setting["metrics"];
  if (!metrics.contains(name)) return "<span class=\"soft\">–</span>";
  std::string seeds;
  for (const Json& s : metrics[name]["seeds"]) seeds += (seeds.empty() ? "" : ", ") + fixed(real_of(s), 3);
  return "<span title=\"seeds: " + seeds + "\">" + fixed(real_of(metrics[name]["mean"]), 3) + "</span>";
}

std::string ordering(const Json& results) {
  std::vector<std::vector<std::string>> rows;
  std::vector<std::size_t> groups;
  for (const double level : levels_of(results)) {
    std::vector<const Json*> of;
    for (const Json& s : results["settings"])
      if (s["level"].get<double>() == level) of.push_back(&s);
    std::stable_sort(of.begin(), of.end(), [](const Json* a, const Json* b) {
      return real_of((*a)["metrics"]["return"]["mean"]) > real_of((*b)["metrics"]["return"]["mean"]);
    });
    groups.push_back(rows.size());
    for (const Json* s : of) {
      const Json& m = (*s)["metrics"]["return"];
      const double lo = real_of(m["ci90"][0]), hi = real_of(m["ci90"][1]);
      std::string empty;
      for (const auto& [name, count] : (*s)["training"]["updates_with_empty_group"].items())
        empty += (empty.empty() ? "" : ", ") + escape(name) + " " + dump(count);
      rows.push_back({level_text((*s)["level"]),
                      "<span class=\"chip\" style=\"background:" + method_colour((*s)["method"].get<std::string>()) + "\">" +
                          escape((*s)["method"].get<std::string>()) + "</span> <span class=\"soft\">" +
                          escape((*s)["about"].get<std::string>()) + "</span>",
                      std::to_string((*s)["seeds"].size()), fixed(real_of((*s)["training"]["updates_each"]), 0), metric_cell(*s, "return"),
                      std::isfinite(lo) && std::isfinite(hi) ? fixed(lo, 3) + " – " + fixed(hi, 3) : "<span class=\"soft\">–</span>",
                      metric_cell(*s, "training_return"), metric_cell(*s, "ghost_return"), empty});
    }
  }
  return html::table(
      {"oversight", "method", "seeds", "updates", "true return", "90 %", "as trained", "Ghost expert", "updates with an empty group"}, rows,
      {2, 3, 4, 6, 7}, groups);
}

std::string level_curves(const Json& results, double level) {
  charts::Curves chart;
  chart.x_label = "updates (the oracle's divided by the oversight level)";
  chart.y_lo = -.5, chart.y_hi = 1;
  for (const Json& s : results["settings"]) {
    if (s["level"].get<double>() != level) continue;
    const Json &curve = s["curve"], &line = curve["return"];
    chart.series.push_back({s["method"].get<std::string>(), method_colour(s["method"].get<std::string>()), grid_numbers(curve["x"]),
                            grid_numbers(line["mean"]), s["seeds"].size() > 1 ? grid_numbers(line["lo"]) : std::vector<double>(),
                            s["seeds"].size() > 1 ? grid_numbers(line["hi"]) : std::vector<double>(), s["method"] == "oracle"});
  }
  return charts::curves(chart);
}

/// One episode: the path, and an agent that walks it in a loop (SVG animation; the path alone where that is off, as in print).
std::string episode_svg(const Json& episode) {
  constexpr double cell = 26, side = 5 * cell + 4;
  const auto centre = [](int at) { return std::pair{2 + cell * (at % 5 + .5), 2 + cell * (at / 5 + .5)}; };
  std::string out = "<svg viewBox=\"0 0 " + fixed(side, 0) + " " + fixed(side, 0) + "\" width=\"" + fixed(side, 0) +
                    "\" role=\"img\" aria-label=\"an episode\">";
  for (int i = 0; i <= 5; ++i) {
    const std::string at = fixed(2 + cell * i, 0), end = fixed(side - 2, 0);
    out += "<line x1=\"" + at + "\" y1=\"2\" x2=\"" + at + "\" y2=\"" + end + "\" class=\"grid\"/><line x1=\"2\" y1=\"" + at + "\" x2=\"" +
           end + "\" y2=\"" + at + "\" class=\"grid\"/>";
  }
  const auto [dx, dy] = centre(episode["diamond"].get<int>());
  const auto [gx, gy] = centre(episode["ghost"].get<int>());
  out += "<rect x=\"" + fixed(dx - 7, 1) + "\" y=\"" + fixed(dy - 7, 1) +
         "\" width=\"14\" height=\"14\" fill=\"#0072b2\" transform=\"rotate(45 " + fixed(dx, 1) + " " + fixed(dy, 1) +
         ")\"><title>Diamond</title></rect>";
  out += "<path d=\"M" + fixed(gx - 8, 1) + " " + fixed(gy + 9, 1) +
         " v-9 a8 8 0 0 1 16 0 v9 l-4 -4 l-4 4 l-4 -4 z\" fill=\"#b91c1c\"><title>Ghost</title></path>";
  std::string path, xs, ys;
  const Json& cells = episode["path"];
  for (const Json& at : cells) {
    const auto [x, y] = centre(at.get<int>());
    path += (path.empty() ? "M" : " L") + fixed(x, 1) + " " + fixed(y, 1);
    xs += fixed(x, 1) + ";", ys += fixed(y, 1) + ";";
  }
  const auto [x0, y0] = centre(cells[0].get<int>());
  out += "<path d=\"" + path + "\" fill=\"none\" class=\"axis\" stroke-width=\"1.6\" stroke-dasharray=\"3 2\"/>";
  // The agent rests on its last cell before it starts anew.
  const auto [x1, y1] = centre(cells.back().get<int>());
  const std::string seconds = fixed(.45 * static_cast<double>(cells.size() + 1), 2) + "s";
  const auto walk = [&](const char* attribute, const std::string& values, double last) {
    return std::string("<animate attributeName=\"") + attribute + "\" values=\"" + values + fixed(last, 1) + "\" dur=\"" + seconds +
           "\" repeatCount=\"indefinite\"/>";
  };
  out += "<circle cx=\"" + fixed(x0, 1) + "\" cy=\"" + fixed(y0, 1) + "\" r=\"6\" fill=\"#e69f00\"><title>agent</title>" +
         walk("cx", xs, x1) + walk("cy", ys, y1) + "</circle>";
  return out + "</svg>";
}

std::string all_episodes(const Json& results, double level) {
  std::vector<std::vector<std::string>> rows;
  std::size_t columns = 0;
  for (const Json& s : results["settings"]) {
    if (s["level"].get<double>() != level) continue;
    for (const auto& [policy, episodes] : s["episodes"].items()) {
      const std::string name = s["method"].get<std::string>();
      std::vector<std::string> row = {"<span class=\"chip\" style=\"background:" + method_colour(name) + "\">" + escape(name) +
                                      "</span><br><span class=\"soft\">" +
                                      (s["episodes"].size() == 1  ? ""
                                       : policy == "return"       ? "Diamond expert"
                                       : policy == "ghost_return" ? "Ghost expert"
                                                                  : "as trained") +
                                      "</span>"};
      for (const Json& episode : episodes)
        row.push_back(episode_svg(episode) + "<span class=\"soft\">" + escape(episode["reached"].get<std::string>()) + ", " +
                      std::to_string(episode["path"].size() - 1) + " steps</span>");
      columns = std::max(columns, episodes.size());
      rows.push_back(std::move(row));
    }
  }
  std::vector<std::string> head = {"policy"};
  for (std::size_t i = 0; i < columns; ++i) head.push_back("start " + std::to_string(i + 1));
  return html::table(head, rows);
}

}  // namespace

std::string grid_report(const Json& results) {
  const Json& config = results["config"];
  std::string body = "<h1>Scalable oversight: who reaches the Diamond when few episodes are watched</h1>";
  body += element("p", "lede",
                  "An agent in a 5×5 room is paid for reaching a Diamond or a Ghost; only the Diamond is wanted, and an overseer sees "
                  "which it was only now and then. "
                  "Gradient routing lets the watched episodes teach one expert each, so that the Diamond expert can be used alone (arXiv "
                  "2410.04332, section 4.3).");
  body +=
      element("p", "caption",
              dump(config["updates"]) + " updates (the oracle: times the oversight level) of " + dump(config["environments"]) +
                  " environments × " + dump(config["steps"]) + " steps, lr " + dump(config["lr"]) + ", discount " +
                  dump(config["discount"]) + ", " + escape(config["dtype"].get<std::string>()) +
                  (config["stale_observation"].get<bool>() ? ", stale observations as in the reference code" : "") +
                  ". The true return is the mean over all steps of fresh episodes of the discounted return to go, +1 Diamond, −1 Ghost.");
  body += "<h2>Order of the methods</h2>" + ordering(results);
  body += element("p", "caption",
                  "90 %: t interval over seeds; every seed on hover. Final values are means of " + dump(config["final_evaluations"]) +
                      " evaluations. Empty groups are updates in which no episode of the group ended; their means count as 0.");
  for (const double level : levels_of(results)) {
    body += "<h2>Oversight " + level_text(Json(level)) + "</h2>" + level_curves(results, level);
    body += element(
        "p", "caption",
        "True return of the policy that the method offers (the routed ones: the Diamond expert alone). Bands: 90 % t intervals over seeds. "
        "The oracle is watched everywhere and stops when it has spent the oversight of the others.");
    body += element("h3", "", "Episodes from the same four starts, nothing watched") + all_episodes(results, level);
  }
  body += "<h2>How to repeat it</h2><pre>" + escape(results["command"].get<std::string>()) + "</pre>";
  return html::page("Gridworld: scalable oversight", body);
}

}  // namespace assay
