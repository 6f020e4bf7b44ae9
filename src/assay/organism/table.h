#pragma once
#include <string>
#include <vector>

#include "assay/base/json.h"

namespace assay {

/// Final measures of organisms built from one recipe with different seeds: for each arm and measure every seed's value, the mean and a t
/// interval over seeds (90 %).
Json seeds_table(const std::vector<Json>& verified);
/// The same as markdown.
std::string seeds_markdown(const Json& table);

}  // namespace assay
