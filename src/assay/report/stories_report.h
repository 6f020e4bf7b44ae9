#pragma once
#include <string>

#include "assay/base/json.h"

namespace assay {

/// The single-file HTML report of `assay route tinystories`: losses, curves of retraining, selectivity, what the models write. `results`
/// is results.json.
std::string stories_report(const Json& results);

}  // namespace assay
