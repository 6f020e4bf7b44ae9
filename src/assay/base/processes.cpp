#include "assay/base/processes.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "assay/base/error.h"
#include "assay/base/json.h"

extern char** environ;

namespace assay {
namespace {

constexpr double kEvery = 0.2;  // seconds between two updates of a child

/// One process: its output so far, what it is doing, how it ended.
struct Child {
  const Process* process = nullptr;
  pid_t pid = -1;
  int out = -1;
  std::string buffer, work, doing, error_operation, error_message, error_hint;
  std::int64_t total = 0;
  int status = 0;
};

[[noreturn]] void fail(const std::string& what, int error) { throw Error("start process", what + ": " + std::strerror(error)); }

Child start(const Process& process) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail("cannot make a pipe", errno);
  std::vector<std::string> words = process.argv;
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawnattr_init(&attributes);
  // A group of its own: Ctrl-C on the terminal reaches this process only, which then asks the workers once.
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  Child child;
  child.process = &process;
  child.out = ends[0];
  const int error = ::posix_spawnp(&child.pid, arguments[0], &actions, &attributes, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  ::close(ends[1]);
  if (error != 0) {
    ::close(ends[0]);
    fail("cannot start " + process.argv.front(), error);
  }
  return child;
}

/// A line that RelayProgress wrote, or the error that the program prints with --json; anything else is the child's own business.
void read_event(Child& child, const std::string& line, Progress& progress) {
  const Json event = Json::parse(line, nullptr, false);
  if (!event.is_object()) return;
  const auto text = [](const Json& object, const char* key) {
    const auto it = object.find(key);
    return it != object.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  const auto number_of = [&](const char* key) {
    const auto it = event.find(key);
    return it != event.end() && it->is_number_integer() ? it->get<std::int64_t>() : std::int64_t{0};
  };
  if (event.contains("error") && event["error"].is_object()) {
    child.error_operation = text(event["error"], "operation");
    child.error_message = text(event["error"], "message");
    child.error_hint = text(event["error"], "hint");
  }
  const std::string kind = text(event, "relay"), said = text(event, "text"),
                    prefix = child.process->name.empty() ? "" : child.process->name + ": ";
  if (kind == "begin") {
    child.work = said;
    child.total = number_of("n");
    child.doing = said;
  } else if (kind == "update") {
    child.doing = child.work + " " + std::to_string(number_of("n")) + (child.total > 0 ? "/" + std::to_string(child.total) : "") +
                  (said.empty() ? "" : " " + said);
  } else if (kind == "end") {
    progress.note(prefix + child.work + " done" + (said.empty() ? "" : ", " + said));
  } else if (kind == "note") {
    progress.note(prefix + said);
  } else if (kind == "warn") {
    progress.warn(prefix + said);
  }
}

/// Reads what is there; false at the end of the output.
bool read_some(Child& child, Progress& progress) {
  char bytes[4096];
  const ssize_t n = ::read(child.out, bytes, sizeof bytes);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (n <= 0) return false;
  child.buffer.append(bytes, static_cast<std::size_t>(n));
  for (std::size_t end; (end = child.buffer.find('\n')) != std::string::npos; child.buffer.erase(0, end + 1))
    read_event(child, child.buffer.substr(0, end), progress);
  return true;
}

void end_worker(Child& child) {
  ::close(child.out);
  while (::waitpid(child.pid, &child.status, 0) < 0 && errno == EINTR) {
  }
}

bool succeeded(const Child& child) { return WIFEXITED(child.status) && WEXITSTATUS(child.status) == 0; }

std::string name_of(const Process& process) {
  if (!process.name.empty()) return process.name;
  std::string out;
  for (const std::string& word : process.argv) out += (out.empty() ? "" : " ") + word;
  return out;
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) return "was killed by signal " + std::to_string(WTERMSIG(status)) + " (" + ::strsignal(WTERMSIG(status)) + ")";
  return "ended with exit code " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

void run_processes(const std::vector<Process>& processes, int jobs, Progress& progress) {
  std::vector<Child> running;
  std::size_t next = 0, done = 0;
  bool stopping = false, interrupted = false;
  std::string failed_task;
  Child failed;
  progress.begin("processes", static_cast<std::int64_t>(processes.size()), "processes");
  const auto stop_all = [&] {
    if (!std::exchange(stopping, true))
      for (const Child& child : running) ::kill(child.pid, SIGTERM);
  };
  while (!running.empty() || (next < processes.size() && !stopping)) {
    while (!stopping && next < processes.size() && running.size() < static_cast<std::size_t>(std::max(jobs, 1))) {
      try {
        running.push_back(start(processes[next]));
      } catch (const Error& e) {
        failed_task = name_of(processes[next]);
        failed.error_operation = e.operation(), failed.error_message = e.message();
        stop_all();
        break;
      }
      ++next;
    }
    std::vector<pollfd> waiting;
    for (const Child& child : running) waiting.push_back({child.out, POLLIN, 0});
    if (!waiting.empty()) ::poll(waiting.data(), waiting.size(), 200);
    for (std::size_t i = 0; i < waiting.size();) {
      if (waiting[i].revents == 0 || read_some(running[i], progress)) {
        ++i;
        continue;
      }
      end_worker(running[i]);
      if (succeeded(running[i]))
        ++done;
      else if (failed_task.empty() && !interrupted)
        failed_task = name_of(*running[i].process), failed = running[i], stop_all();
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(i));
      waiting.erase(waiting.begin() + static_cast<std::ptrdiff_t>(i));
    }
    std::string shown;
    for (const Child& child : running)
      shown += (shown.empty() ? "" : " | ") + (child.process->name.empty() ? "" : child.process->name + " ") + child.doing;
    progress.update(static_cast<std::int64_t>(done), shown);
    if (progress.stop_requested() && !stopping) interrupted = true, stop_all();
  }
  if (interrupted) throw Interrupted("run processes");
  if (!failed_task.empty()) {
    const std::string message = failed.error_message.empty() ? "the process " + how_it_ended(failed.status) : failed.error_message;
    throw Error(failed.error_operation.empty() ? "run processes" : failed.error_operation, failed_task + ": " + message,
                failed.error_hint.empty() ? "run the same command again to go on" : failed.error_hint);
  }
  progress.end();
}

void run_processes(const std::vector<std::vector<std::string>>& commands, int jobs, Progress& progress) {
  std::vector<Process> processes;
  for (const auto& command : commands) processes.push_back({"", command});
  run_processes(processes, jobs, progress);
}

std::string own_program() {
  std::array<char, 4096> path{};
  const ssize_t n = ::readlink("/proc/self/exe", path.data(), path.size() - 1);
  if (n <= 0) fail("the program's own path cannot be read", errno);
  return {path.data(), static_cast<std::size_t>(n)};
}

void RelayProgress::begin(std::string_view name, std::int64_t total, std::string_view) {
  total_ = total;
  last_ = -1;
  write_(dump(Json{{"relay", "begin"}, {"text", name}, {"n", total}}));
}

void RelayProgress::update(std::int64_t done, std::string_view metric) {
  const double now = wall_seconds();
  if (done != total_ && last_ >= 0 && now - last_ < kEvery) return;
  last_ = now;
  write_(dump(Json{{"relay", "update"}, {"n", done}, {"text", metric}}));
}

void RelayProgress::end(std::string_view summary) { write_(dump(Json{{"relay", "end"}, {"text", summary}})); }
void RelayProgress::note(std::string_view line) { write_(dump(Json{{"relay", "note"}, {"text", line}})); }
void RelayProgress::warn(std::string_view line) { write_(dump(Json{{"relay", "warn"}, {"text", line}})); }

void end_with_parent() { ::prctl(PR_SET_PDEATHSIG, SIGTERM); }

}  // namespace assay
