#pragma once
#include <filesystem>
#include <vector>

#include "assay/audit/access.h"
#include "assay/base/json.h"

namespace assay {

/// {"places": {NAME: {"neurons": [[...] for each layer], "heads": [[...] for each layer]}}}; either may be left out. Errors name the file
/// and the place.
std::vector<NamedUnits> read_places(const std::filesystem::path& file);
Json to_json(const std::vector<NamedUnits>& places);

}  // namespace assay
