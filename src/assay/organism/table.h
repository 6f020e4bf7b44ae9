#pragma once
#include <string>
#include <vector>

#include "assay/base/json.h"

namespace assay {

/// Measures of organisms built from one recipe with different seeds, after one stage (empty: after each arm's last): for each arm and
/// measure every seed's value, the mean and a t interval over seeds (90 %). An Error where no arm has such a stage.
Json seeds_table(const std::vector<Json>& verified, const std::string& stage = {});
/// The same as markdown.
std::string seeds_markdown(const Json& table);

}  // namespace assay
