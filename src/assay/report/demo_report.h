#pragma once
#include <string>

#include "assay/base/json.h"

namespace assay {

/// The single-file HTML report of `assay demo`: what was built, the proof with its controls, who found what with which access, the decisive
/// evidence, the cost. `results` is results.json (docs/reference/results.md). A part that was not measured is left out and said to be
/// missing; a number is never made up.
std::string demo_report(const Json& results);

}  // namespace assay
