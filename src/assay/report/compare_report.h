#pragma once
#include <string>

#include "assay/base/json.h"

namespace assay {

/// The page of `assay route compare`: what each method took out, what it cost, what an attacker gets back.
std::string compare_report(const Json& results);

}  // namespace assay
