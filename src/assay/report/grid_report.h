#pragma once
#include <string>

#include "assay/base/json.h"

namespace assay {

/// The single-file HTML report of `assay route gridworld`: an ordering of the methods at each oversight level, curves over updates,
/// animated episodes of the trained policies. `results` is results.json.
std::string grid_report(const Json& results);

}  // namespace assay
