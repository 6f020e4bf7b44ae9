#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace assay {

/// Where a long job reports. Libraries call it; the program decides what is shown. Implementations are thread-safe.
class Progress {
 public:
  virtual ~Progress() = default;
  /// A new piece of work begins: `total` units (0 = not known), for instance begin("sft", 400, "steps").
  virtual void begin(std::string_view name, std::int64_t total, std::string_view unit) = 0;
  /// `done` units are behind; `metric` is a short text such as "loss 1.234".
  virtual void update(std::int64_t done, std::string_view metric = {}) = 0;
  virtual void end(std::string_view summary = {}) = 0;
  /// A line for the log.
  virtual void note(std::string_view line) = 0;
  virtual void warn(std::string_view line) = 0;
  /// True once the user has asked to stop; long jobs save their state, then throw Interrupted.
  [[nodiscard]] virtual bool stop_requested() const = 0;
};

/// Shows nothing and never stops.
Progress& no_progress();
/// Progress on stderr: rate, ETA, metric, in place on a terminal and a line now and then elsewhere. SIGINT and SIGTERM set
/// stop_requested(); a second one ends the process at once. At most one at a time.
std::unique_ptr<Progress> terminal_progress(bool quiet);

/// Seconds: monotonic wall time, and CPU time of this process (all threads).
double wall_seconds();
double cpu_seconds();

}  // namespace assay
