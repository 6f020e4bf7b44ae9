#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "assay/base/progress.h"

namespace assay {

/// The running program's own file.
std::string own_program();

struct Process {
  std::string name;  ///< stands before its messages; may be empty
  std::vector<std::string> argv;
};

/// Runs processes side by side, at most `jobs` at a time, in order, with this process's environment and stderr. What they report on stdout
/// as RelayProgress does (the program's flag --relay) goes to `progress`; the rest of their stdout is thrown away. The first that fails
/// ends the others and is thrown with its name and, where it printed one (--json), its own error. When the user asks to stop, the children
/// are asked once (SIGTERM) and waited for, then Interrupted is thrown: they form process groups of their own, so that Ctrl-C on a terminal
/// does not reach them twice.
void run_processes(const std::vector<Process>& processes, int jobs, Progress& progress);
void run_processes(const std::vector<std::vector<std::string>>& commands, int jobs, Progress& progress);

/// Progress of a child: one JSON line an event to `write`, updates at most a few times a second. Stops when `signals` says so.
class RelayProgress final : public Progress {
 public:
  using Write = std::function<void(const std::string& line)>;
  RelayProgress(Progress& signals, Write write) : signals_(signals), write_(std::move(write)) {}
  void begin(std::string_view name, std::int64_t total, std::string_view unit) override;
  void update(std::int64_t done, std::string_view metric = {}) override;
  void end(std::string_view summary = {}) override;
  void note(std::string_view line) override;
  void warn(std::string_view line) override;
  [[nodiscard]] bool stop_requested() const override { return signals_.stop_requested(); }

 private:
  Progress& signals_;
  Write write_;
  std::int64_t total_ = 0;
  double last_ = -1;
};

/// Asks the system to end this process (SIGTERM) when its parent dies.
void end_with_parent();

}  // namespace assay
