#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <mutex>
#include <vector>

#include "assay/base/progress.h"

namespace assay {
namespace {

constexpr double kRedraw = 0.1;  // seconds between two pictures of the line in place
constexpr double kLogLine = 15;  // seconds between two lines where stderr is no terminal

// A signal handler reaches nothing but globals.
std::atomic<int> stop_signals{0};
static_assert(std::atomic<int>::is_always_lock_free);

void on_stop_signal(int signal) {
  if (stop_signals.fetch_add(1) > 0) {
    ::signal(signal, SIG_DFL);
    ::raise(signal);  // delivered when this handler returns
    return;
  }
  constexpr std::string_view kText = "\nassay: stopping at the next safe point (once more to end at once)\n";
  (void)!::write(STDERR_FILENO, kText.data(), kText.size());
}

/// Catches SIGINT and SIGTERM; gives them back what they did before.
class StopSignals {
 public:
  StopSignals() {
    assert(!installed_ && "one terminal_progress at a time");
    installed_ = true;
    stop_signals = 0;
    struct sigaction action {};
    action.sa_handler = on_stop_signal;
    action.sa_flags = SA_RESTART;  // libraries need not know about EINTR
    sigemptyset(&action.sa_mask);
    for (std::size_t i = 0; i < kSignals.size(); ++i) {
      ::sigaction(kSignals[i], nullptr, &before_[i]);
      if (before_[i].sa_handler != SIG_IGN) ::sigaction(kSignals[i], &action, nullptr);  // nohup and the like stay in force
    }
  }
  ~StopSignals() {
    for (std::size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
    installed_ = false;
  }
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

 private:
  static constexpr std::array<int, 2> kSignals = {SIGINT, SIGTERM};
  static inline bool installed_ = false;
  std::array<struct sigaction, 2> before_{};
};

std::string duration(double seconds) {
  const auto s = static_cast<std::int64_t>(seconds + 0.5);
  if (s < 60) return seconds < 10 ? fmt::format("{:.1f} s", seconds) : fmt::format("{} s", s);
  return s < 3600 ? fmt::format("{}:{:02}", s / 60, s % 60) : fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

/// One piece of work. The rate counts from the first update on: a resumed job starts far from 0.
struct Task {
  std::string name, unit, metric;
  std::int64_t total = 0, done = 0, first_done = -1;
  double begun = wall_seconds(), first_time = 0;

  void update(std::int64_t now_done, std::string_view text) {
    if (first_done < 0) first_done = now_done, first_time = wall_seconds();
    done = now_done;
    metric = text;
  }
  [[nodiscard]] double rate() const {
    const double seconds = wall_seconds() - first_time;
    return first_done >= 0 && done > first_done && seconds > 0 ? static_cast<double>(done - first_done) / seconds : 0;
  }
  [[nodiscard]] std::string line() const {
    std::string text = total > 0 ? fmt::format("{}/{} {}", done, total, unit) : fmt::format("{} {}", done, unit);
    if (const double r = rate(); r > 0) {
      text += r >= 1 ? fmt::format("  {:.{}f}/s", r, r < 100 ? 1 : 0) : fmt::format("  {:.1f} s each", 1 / r);
      if (total > done) text += "  ETA " + duration(static_cast<double>(total - done) / r);
    }
    return metric.empty() ? text : text + "  " + metric;
  }
};

class TerminalProgress final : public Progress {
 public:
  explicit TerminalProgress(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) != 0) {}
  ~TerminalProgress() override {
    const std::lock_guard lock(mutex_);
    if (drawn_) put("\n");  // what was under way stays to be seen
  }

  void begin(std::string_view name, std::int64_t total, std::string_view unit) override {
    const std::lock_guard lock(mutex_);
    tasks_.push_back({.name = std::string(name), .unit = std::string(unit), .metric = {}, .total = total});
    if (!terminal_) last_shown_ = wall_seconds();
    show(false);
  }
  void update(std::int64_t done, std::string_view metric) override {
    const std::lock_guard lock(mutex_);
    if (tasks_.empty()) return;
    tasks_.back().update(done, metric);
    show(false);
  }
  void end(std::string_view summary) override {
    const std::lock_guard lock(mutex_);
    if (tasks_.empty()) return;
    const Task& task = tasks_.back();
    std::string text = names() + ": ";
    if (task.done > 0) text += fmt::format("{} {} in ", task.done, task.unit);
    text += duration(wall_seconds() - task.begun);
    if (!summary.empty())
      text += fmt::format("  {}", summary);
    else if (!task.metric.empty())
      text += "  " + task.metric;
    tasks_.pop_back();
    if (!quiet_) log(text);
  }
  void note(std::string_view line) override {
    const std::lock_guard lock(mutex_);
    if (!quiet_) log(std::string(line));
  }
  void warn(std::string_view line) override {
    const std::lock_guard lock(mutex_);
    log("warning: " + std::string(line));
  }
  [[nodiscard]] bool stop_requested() const override { return stop_signals.load() > 0; }

 private:
  [[nodiscard]] std::string names() const {
    std::string text;
    for (const Task& task : tasks_) text += (text.empty() ? "" : " > ") + task.name;
    return text;
  }
  void show(bool now) {
    if (quiet_ || tasks_.empty()) return;
    const double time = wall_seconds();
    if (!now && time - last_shown_ < (terminal_ ? kRedraw : kLogLine)) return;
    last_shown_ = time;
    std::string text = names() + "  " + tasks_.back().line();
    if (!terminal_) return put(text + "\n");
    winsize size{};
    std::size_t width = ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1U : 79U;
    while (width < text.size() && (text[width] & 0xC0) == 0x80) --width;  // never half a character
    put("\r" + text.substr(0, width) + kClearRest);
    drawn_ = true;
  }
  /// A line for good, above the one in place.
  void log(const std::string& text) {
    put((drawn_ ? std::string("\r") + kClearRest : "") + text + "\n");
    drawn_ = false;
    if (terminal_) show(true);
  }
  static void put(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
      if (n <= 0) return;  // nobody to tell
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  static constexpr const char* kClearRest = "\x1b[K";
  const bool quiet_, terminal_;
  const StopSignals signals_;
  std::mutex mutex_;
  std::vector<Task> tasks_;  // the innermost last
  double last_shown_ = 0;
  bool drawn_ = false;
};

}  // namespace

std::unique_ptr<Progress> terminal_progress(bool quiet) { return std::make_unique<TerminalProgress>(quiet); }

}  // namespace assay
