#include "assay/base/processes.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <thread>

#include "assay/base/error.h"

extern char** environ;

namespace assay {
namespace {

std::string joined(const std::vector<std::string>& command) {
  std::string out;
  for (const std::string& word : command) out += (out.empty() ? "" : " ") + word;
  return out;
}

pid_t start(const std::vector<std::string>& command) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw Error("start process", joined(command) + ": " + std::strerror(error));
  return pid;
}

}  // namespace

std::string own_program() {
  std::array<char, 4096> path{};
  const ssize_t n = readlink("/proc/self/exe", path.data(), path.size() - 1);
  if (n <= 0) throw Error("start process", std::string("the program's own path cannot be read: ") + std::strerror(errno));
  return {path.data(), static_cast<std::size_t>(n)};
}

void run_processes(const std::vector<std::vector<std::string>>& commands, int jobs, Progress& progress) {
  std::map<pid_t, std::size_t> running;
  std::size_t next = 0, finished = 0;
  std::string failure;
  const auto interrupt_all = [&] {
    for (const auto& [pid, which] : running) kill(pid, SIGINT);
  };
  bool stopping = false;
  progress.begin("processes", static_cast<std::int64_t>(commands.size()), "processes");
  while (next < commands.size() || !running.empty()) {
    while (!stopping && next < commands.size() && running.size() < static_cast<std::size_t>(std::max(1, jobs))) {
      try {
        const pid_t pid = start(commands[next]);
        running[pid] = next++;
      } catch (const Error& e) {
        failure = e.message();
        stopping = true;
        interrupt_all();
      }
    }
    if (stopping && running.empty()) break;
    int status = 0;
    const pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid > 0 && running.contains(pid)) {
      const std::size_t which = running[pid];
      running.erase(pid);
      progress.update(static_cast<std::int64_t>(++finished));
      if (!(WIFEXITED(status) && WEXITSTATUS(status) == 0) && !stopping) {
        failure = joined(commands[which]) + (WIFSIGNALED(status) ? " was ended by signal " + std::to_string(WTERMSIG(status)) : " ended with exit code " + std::to_string(WEXITSTATUS(status)));
        stopping = true;
        interrupt_all();
      }
      continue;
    }
    if (!stopping && progress.stop_requested()) {
      stopping = true;
      interrupt_all();
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  progress.end();
  if (!failure.empty()) throw Error("run processes", failure, "its own message stands above");
  if (stopping) throw Interrupted("run processes");
}

}  // namespace assay
