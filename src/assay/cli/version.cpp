#include "assay/cli/version.h"

#include "assay/cli/commit.h"

namespace assay::cli {

const char* version() { return ASSAY_VERSION; }
const char* commit() { return ASSAY_COMMIT; }

}  // namespace assay::cli
