#pragma once
#include <optional>
#include <string>
#include <vector>

namespace assay::charts {

/// A point with its interval on [0, 1]; `reference` is a tick beside it (what chance would give).
struct Estimate {
  double value = 0, lo = 0, hi = 0;
  std::optional<double> reference;
  std::string note;  ///< shown on hover
};

/// Small multiples: a panel for each column, a row for each arm, a dot with a whisker in each cell (absent = nothing was measured).
struct DotPanels {
  std::vector<std::string> columns;
  struct Row {
    std::string label, colour;
    std::vector<std::optional<Estimate>> cells;
  };
  std::vector<Row> rows;
};
std::string dot_panels(const DotPanels& chart);

/// One line a series over named steps (training stages), with whiskers.
struct Progression {
  std::vector<std::string> steps;
  struct Series {
    std::string label, colour;
    std::vector<std::optional<Estimate>> points;
  };
  std::vector<Series> series;
};
std::string progression(const Progression& chart);

/// Before and after, joined: one row each.
struct Dumbbells {
  struct Row {
    std::string label, colour;
    std::optional<Estimate> before, after;
  };
  std::vector<Row> rows;
  std::string before_label, after_label;
};
std::string dumbbells(const Dumbbells& chart);

/// One bar of shares that sum to 1; `marked` is outlined (the truth).
struct Share {
  std::string label, colour;
  double share = 0;
  bool marked = false;
};
std::string share_bar(const std::vector<Share>& shares);

/// How many of the true behaviours were found; those on topics that were never demonstrated apart.
struct Found {
  double found = 0, found_held_out = 0, total = 0, total_held_out = 0;
};
std::string found_bar(const Found& found);

/// A colour for each arm, told apart by colour-blind readers too (Okabe and Ito).
std::string arm_colour(const std::string& arm);

}  // namespace assay::charts
