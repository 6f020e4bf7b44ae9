#pragma once
#include <string>
#include <vector>

#include "assay/base/progress.h"

namespace assay {

/// The running program's own file.
std::string own_program();

/// Runs commands (argv each) side by side, at most `jobs` at a time, with this process's environment and stderr; their stdout is thrown away. A command that fails ends
/// the others and is reported as an Error with its command line. When the user asks to stop, the children are interrupted and waited for, then Interrupted is thrown.
void run_processes(const std::vector<std::vector<std::string>>& commands, int jobs, Progress& progress);

}  // namespace assay
