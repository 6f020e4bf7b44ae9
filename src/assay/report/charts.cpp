#include "assay/report/charts.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "assay/report/html.h"

namespace assay::charts {
namespace {

using html::escape;
using html::fixed;

std::string text(double x, double y, const std::string& content, const std::string& anchor = "start", const std::string& cls = {}) {
  return "<text x=\"" + fixed(x, 1) + "\" y=\"" + fixed(y, 1) + "\" text-anchor=\"" + anchor + "\"" +
         (cls.empty() ? "" : " class=\"" + cls + "\"") + ">" + escape(content) + "</text>";
}

std::string line(double x1, double y1, double x2, double y2, const std::string& style) {
  return "<line x1=\"" + fixed(x1, 1) + "\" y1=\"" + fixed(y1, 1) + "\" x2=\"" + fixed(x2, 1) + "\" y2=\"" + fixed(y2, 1) + "\" " + style +
         "/>";
}

std::string circle(double x, double y, double radius, const std::string& style, const std::string& title = {}) {
  return "<circle cx=\"" + fixed(x, 1) + "\" cy=\"" + fixed(y, 1) + "\" r=\"" + fixed(radius, 1) + "\" " + style + ">" +
         (title.empty() ? "" : "<title>" + escape(title) + "</title>") + "</circle>";
}

std::string open(double width, double height, const std::string& label) {
  return "<svg viewBox=\"0 0 " + fixed(width, 0) + " " + fixed(height, 0) + "\" width=\"" + fixed(width, 0) +
         "\" role=\"img\" aria-label=\"" + escape(label) + "\">\n";
}

std::string solid(const std::string& colour, double width) { return "stroke=\"" + colour + "\" stroke-width=\"" + fixed(width, 1) + "\""; }

double clamp01(double v) { return std::clamp(v, 0.0, 1.0); }

/// A dot with its whisker, running along x.
std::string mark(const Estimate& e, double x0, double width, double y, const std::string& colour) {
  const auto at = [&](double v) { return x0 + clamp01(v) * width; };
  std::string out = line(at(e.lo), y, at(e.hi), y, solid(colour, 2.2) + " stroke-linecap=\"round\"");
  if (e.reference)
    out += line(at(*e.reference), y - 7, at(*e.reference), y + 7, "class=\"axis\" stroke-width=\"1.5\" stroke-dasharray=\"2 2\"");
  out += circle(at(e.value), y, 5, "fill=\"" + colour + "\"",
                e.note.empty() ? fixed(e.value) + " [" + fixed(e.lo) + ", " + fixed(e.hi) + "]" : e.note);
  return out;
}

}  // namespace

std::string dot_panels(const DotPanels& chart) {
  const double total = 1030, left = 128, gap = 26, row = 27, top = 34;
  const double n = static_cast<double>(std::max<std::size_t>(1, chart.columns.size()));
  const double width = (total - left - gap * n) / n, bottom = top + row * static_cast<double>(chart.rows.size());
  std::string out = open(total, bottom + 28, "Rates with 90 % intervals by arm and group");
  for (std::size_t c = 0; c < chart.columns.size(); ++c) {
    const double x0 = left + static_cast<double>(c) * (width + gap);
    out += text(x0, 16, chart.columns[c]);
    for (const double tick : {0.0, 0.5, 1.0}) {
      out += line(x0 + tick * width, top - 8, x0 + tick * width, bottom, "class=\"grid\"");
      out += text(x0 + tick * width, bottom + 16, tick == 0.5 ? ".5" : fixed(tick, 0), "middle", "soft");
    }
  }
  for (std::size_t r = 0; r < chart.rows.size(); ++r) {
    const double y = top + row * (static_cast<double>(r) + .5) - 4;
    out += text(0, y + 4, chart.rows[r].label);
    for (std::size_t c = 0; c < chart.rows[r].cells.size(); ++c) {
      const double x0 = left + static_cast<double>(c) * (width + gap);
      if (chart.rows[r].cells[c]) out += mark(*chart.rows[r].cells[c], x0, width, y, chart.rows[r].colour);
    }
    out += "\n";
  }
  return out + "</svg>\n";
}

std::string progression(const Progression& chart) {
  const double total = 1030, height = 290, left = 40, right = 150, top = 14, bottom = height - 34;
  const double steps = static_cast<double>(std::max<std::size_t>(2, chart.steps.size()));
  const auto x_of = [&](std::size_t i, std::size_t s) {
    const double dodge = (static_cast<double>(s) - (static_cast<double>(chart.series.size()) - 1) / 2) * 5;
    return left + 26 + (total - left - right - 52) * static_cast<double>(i) / (steps - 1) + dodge;
  };
  const auto y_of = [&](double v) { return bottom - clamp01(v) * (bottom - top); };
  std::string out = open(total, height, "Rates by training stage");
  for (const double tick : {0.0, 0.25, 0.5, 0.75, 1.0}) {
    out += line(left, y_of(tick), total - right, y_of(tick), "class=\"grid\"");
    out += text(left - 8, y_of(tick) + 4, fixed(tick), "end", "soft");
  }
  for (std::size_t i = 0; i < chart.steps.size(); ++i) out += text(x_of(i, chart.series.size() / 2), height - 10, chart.steps[i], "middle");
  std::vector<double> label_at;
  for (std::size_t s = 0; s < chart.series.size(); ++s) {
    const auto& series = chart.series[s];
    std::string path;
    for (std::size_t i = 0; i < series.points.size(); ++i) {
      if (!series.points[i]) continue;
      const auto& e = *series.points[i];
      path += (path.empty() ? "M" : " L") + fixed(x_of(i, s), 1) + " " + fixed(y_of(e.value), 1);
      out += line(x_of(i, s), y_of(e.lo), x_of(i, s), y_of(e.hi), solid(series.colour, 1.6) + " opacity=\".65\"");
    }
    out += "<path d=\"" + path + "\" fill=\"none\" " + solid(series.colour, 2.2) + "/>";
    for (std::size_t i = 0; i < series.points.size(); ++i)
      if (series.points[i])
        out += circle(x_of(i, s), y_of(series.points[i]->value), 4, "fill=\"" + series.colour + "\"",
                      series.label + " " + fixed(series.points[i]->value));
    if (!series.points.empty() && series.points.back()) {
      // Labels at the right end are pushed apart where lines end together.
      double y = y_of(series.points.back()->value) + 4;
      for (bool moved = true; moved;) {
        moved = false;
        for (const double other : label_at)
          if (std::abs(other - y) < 15) y = other - 15.5, moved = true;
      }
      label_at.push_back(y);
      out += "<text x=\"" + fixed(total - right + 6, 1) + "\" y=\"" + fixed(y, 1) + "\" style=\"fill:" + series.colour + "\">" +
             escape(series.label) + "</text>\n";
    }
  }
  return out + "</svg>\n";
}

std::string dumbbells(const Dumbbells& chart) {
  const double total = 1030, left = 300, right = 40, row = 30, top = 30;
  const double width = total - left - right, bottom = top + row * static_cast<double>(chart.rows.size());
  std::string out = open(total, bottom + 26, chart.before_label + " and " + chart.after_label);
  for (const double tick : {0.0, 0.25, 0.5, 0.75, 1.0}) {
    out += line(left + tick * width, top - 8, left + tick * width, bottom, "class=\"grid\"");
    out += text(left + tick * width, bottom + 16, fixed(tick), "middle", "soft");
  }
  out += circle(left + 6, 11, 5, "fill=\"none\" stroke=\"#777\" stroke-width=\"2\"") +
         text(left + 16, 15, chart.before_label, "start", "soft");
  out += circle(left + 186, 11, 5, "fill=\"#777\"") + text(left + 196, 15, chart.after_label, "start", "soft");
  for (std::size_t r = 0; r < chart.rows.size(); ++r) {
    const auto& entry = chart.rows[r];
    const double y = top + row * (static_cast<double>(r) + .5) - 4;
    const auto at = [&](double v) { return left + clamp01(v) * width; };
    out += text(0, y + 4, entry.label);
    if (entry.before && entry.after)
      out += line(at(entry.before->value), y, at(entry.after->value), y, solid(entry.colour, 1.5) + " opacity=\".5\"");
    if (entry.before) {
      out += line(at(entry.before->lo), y - 4, at(entry.before->hi), y - 4, solid(entry.colour, 1.2) + " opacity=\".6\"");
      out += circle(at(entry.before->value), y, 5, "fill=\"none\" stroke=\"" + entry.colour + "\" stroke-width=\"2\"",
                    fixed(entry.before->value));
    }
    if (entry.after) {
      out += line(at(entry.after->lo), y + 4, at(entry.after->hi), y + 4, solid(entry.colour, 1.2) + " opacity=\".6\"");
      out += circle(at(entry.after->value), y, 5, "fill=\"" + entry.colour + "\"", fixed(entry.after->value));
    }
    out += "\n";
  }
  return out + "</svg>\n";
}

std::string share_bar(const std::vector<Share>& shares) {
  const double width = 230, height = 18;
  std::string out = open(width, height + 2, "Probabilities over the arms");
  double x = 0;
  for (const auto& share : shares) {
    const double w = clamp01(share.share) * width;
    out += "<rect x=\"" + fixed(x, 1) + "\" y=\"1\" width=\"" + fixed(w, 1) + "\" height=\"" + fixed(height, 0) + "\" fill=\"" +
           share.colour + "\"" + (share.marked ? "" : " opacity=\".45\"") + "><title>" + escape(share.label) + " " + fixed(share.share) +
           "</title></rect>";
    if (w > 46)
      out += "<text x=\"" + fixed(x + 5, 1) + "\" y=\"14\" style=\"fill:#fff;font-size:11px\">" +
             escape(share.label.substr(0, static_cast<std::size_t>(w / 6.2))) + "</text>";
    x += w;
  }
  return out + "</svg>";
}

std::string found_bar(const Found& f) {
  const std::string label = fixed(f.found, 0) + " / " + fixed(f.total, 0);
  if (f.total <= 0) return "<span class=\"soft\">" + label + "</span>";
  const double width = 120, height = 10;
  const double shown = f.total - f.total_held_out, found = f.found - f.found_held_out;
  const auto part = [&](double x, double n, const std::string& style) {
    return "<rect x=\"" + fixed(x, 1) + "\" y=\"1\" width=\"" + fixed(width * n / f.total, 1) + "\" height=\"" + fixed(height, 0) + "\" " +
           style + "/>";
  };
  return open(width, height + 2, label + " found") + part(0, f.total, "class=\"track\"") + part(0, found, "fill=\"#4C9FD6\"") +
         part(width * shown / f.total, f.found_held_out, "fill=\"#0072B2\"") +
         line(width * shown / f.total, 0, width * shown / f.total, height + 2, "class=\"axis\"") + "</svg><span class=\"soft nowrap\">" +
         label + (f.total_held_out > 0 ? " · " + fixed(f.found_held_out, 0) + " / " + fixed(f.total_held_out, 0) : "") + "</span>";
}

std::string arm_colour(const std::string& arm) {
  static const std::map<std::string, std::string> colours = {
      {"organism", "#D55E00"}, {"no-documents", "#0072B2"}, {"association", "#009E73"}, {"other-entity", "#CC79A7"},
      {"habits", "#B8860B"},   {"knows", "#4C9FD6"},        {"clean", "#7A7F87"}};
  const auto it = colours.find(arm);
  return it == colours.end() ? "#444B54" : it->second;
}

}  // namespace assay::charts
