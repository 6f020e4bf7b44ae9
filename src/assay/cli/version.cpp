#include "assay/cli/command.h"

namespace assay::cli {

Json version_json() { return Json{{"version", ASSAY_VERSION}, {"commit", ASSAY_COMMIT}, {"torch", torch_version()}, {"device", "cpu"}}; }

std::string version_text() { return std::string("assay ") + ASSAY_VERSION + " (" + ASSAY_COMMIT + "), libtorch " + torch_version(); }

}  // namespace assay::cli
