#pragma once

namespace assay::cli {

/// Parses, runs, reports; returns the exit code (0 done, 1 failed, 2 wrong usage).
int run_program(int argc, const char* const* argv);

}  // namespace assay::cli
