#pragma once
#include <string>
#include <vector>

namespace assay::charts {

/// Lines over a continuous x-axis, each with a band; y runs from y_lo to y_hi.
struct Curves {
  std::string x_label;
  double y_lo = 0, y_hi = 1;
  struct Series {
    std::string label, colour;
    std::vector<double> x, y, lo, hi;  ///< lo and hi may be empty; points that are no number are left out
    bool dashed = false;
  };
  std::vector<Series> series;
};
std::string curves(const Curves& chart);

}  // namespace assay::charts
