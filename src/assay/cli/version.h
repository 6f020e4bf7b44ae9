#pragma once

namespace assay::cli {

// Of this build. A file of their own: they change with every commit, and are compiled in no time.
const char* version();
const char* commit();

}  // namespace assay::cli
