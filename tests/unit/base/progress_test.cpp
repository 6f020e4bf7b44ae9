#include "assay/base/progress.h"

#include <gtest/gtest.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "../error_of.h"

namespace assay {
namespace {

struct Seen {
  std::string text;  // what the child wrote to stderr
  int status = 0;    // of wait(2)
};

/// Runs `work` in a child whose stderr is a pipe, or a terminal 40 columns wide.
Seen run(bool on_terminal, const std::function<void()>& work) {
  int ends[2] = {-1, -1};
  if (on_terminal) {
    winsize size{};
    size.ws_col = 40, size.ws_row = 10;
    if (::openpty(&ends[0], &ends[1], nullptr, nullptr, &size) != 0) return {"no pseudo-terminal", -1};
  } else if (::pipe(ends) != 0) {
    return {"no pipe", -1};
  }
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]), ::close(ends[1]);
    work();
    ::_exit(0);
  }
  ::close(ends[1]);
  Seen seen;
  char buffer[4096];
  for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) seen.text.append(buffer, static_cast<std::size_t>(n));
  ::close(ends[0]);
  ::waitpid(pid, &seen.status, 0);
  return seen;
}

void three_steps() {
  const auto progress = terminal_progress(false);
  progress->begin("sft", 400, "steps");
  for (int i = 198; i <= 200; ++i) {
    progress->update(i, "loss 1.5");
    std::this_thread::sleep_for(std::chrono::milliseconds(110));
  }
  progress->note("a note");
  progress->end("loss 1.25");
}

TEST(Progress, OnATerminalOneLineIsDrawnInPlace) {
  const Seen seen = run(true, three_steps);
  EXPECT_EQ(seen.status, 0);
  EXPECT_TRUE(contains(seen.text, "\rsft  199/400 steps")) << seen.text;
  // 110 ms a step, whatever the job had done before it was resumed: some 9 steps a second, not 1,800.
  const auto slash = seen.text.find("/s  ETA ");
  ASSERT_NE(slash, std::string::npos) << seen.text;
  const double rate = std::stod(seen.text.substr(seen.text.rfind(' ', slash)));
  EXPECT_TRUE(rate > 0 && rate < 9.2) << rate;
  EXPECT_TRUE(contains(seen.text, "a note\r\n")) << seen.text;
  EXPECT_TRUE(contains(seen.text, "sft: 200 steps in 0.")) << seen.text;
  EXPECT_TRUE(contains(seen.text, "loss 1.25\r\n")) << seen.text;
}

TEST(Progress, ALineInPlaceNeverWraps) {
  const Seen seen = run(true, [] {
    const auto progress = terminal_progress(false);
    progress->begin(std::string(100, 'n'), 10, "steps");
  });
  EXPECT_TRUE(contains(seen.text, std::string(39, 'n') + "\x1b[K")) << seen.text;
}

TEST(Progress, ElsewhereOnlyWholeLinesNowAndThen) {
  const Seen seen = run(false, three_steps);
  EXPECT_FALSE(contains(seen.text, "\r"));
  EXPECT_FALSE(contains(seen.text, "199/400")) << "not one line an update";
  EXPECT_TRUE(contains(seen.text, "a note\nsft: 200 steps in 0.")) << seen.text;
}

TEST(Progress, NestedWorkNamesItsPlace) {
  const Seen seen = run(false, [] {
    const auto progress = terminal_progress(false);
    progress->begin("organism", 2, "stages");
    progress->begin("sft", 10, "steps");
    progress->update(10);
    progress->end();
    progress->end();
    progress->end();  // one too many is harmless
  });
  EXPECT_TRUE(contains(seen.text, "organism > sft: 10 steps in") && contains(seen.text, "\norganism: ")) << seen.text;
}

TEST(Progress, QuietShowsWarningsOnly) {
  const Seen seen = run(true, [] {
    const auto progress = terminal_progress(true);
    progress->begin("sft", 10, "steps");
    progress->update(3);
    progress->note("a note");
    progress->warn("something is odd");
    progress->end("done");
  });
  EXPECT_EQ(seen.text, "warning: something is odd\r\n");
}

TEST(Progress, TheFirstSignalAsksTheSecondEnds) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const Seen once = run(false, [signal] {
      const auto progress = terminal_progress(false);
      if (progress->stop_requested()) ::_exit(2);
      ::raise(signal);
      ::_exit(progress->stop_requested() ? 0 : 1);
    });
    EXPECT_EQ(once.status, 0);
    EXPECT_TRUE(contains(once.text, "stopping at the next safe point"));
    const Seen twice = run(false, [signal] {
      const auto progress = terminal_progress(false);
      ::raise(signal);
      ::raise(signal);
    });
    EXPECT_TRUE(WIFSIGNALED(twice.status) && WTERMSIG(twice.status) == signal);
  }
}

TEST(Progress, SignalsAreGivenBack) {
  const Seen seen = run(false, [] {
    terminal_progress(false);
    ::raise(SIGTERM);
  });
  EXPECT_TRUE(WIFSIGNALED(seen.status) && WTERMSIG(seen.status) == SIGTERM);
  const Seen ignored = run(false, [] {
    ::signal(SIGINT, SIG_IGN);
    const auto progress = terminal_progress(false);
    ::raise(SIGINT);
    ::_exit(progress->stop_requested() ? 1 : 0);
  });
  EXPECT_EQ(ignored.status, 0) << "nohup stays in force";
}

TEST(Progress, ThreadsMayReportTogether) {
  const Seen seen = run(false, [] {
    const auto progress = terminal_progress(false);
    progress->begin("sample", 0, "prompts");
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 200; ++i) progress->update(i), progress->note("thread " + std::to_string(t));
      });
    }
    for (auto& thread : threads) thread.join();
    progress->end();
  });
  EXPECT_EQ(seen.status, 0);
  std::size_t whole = 0;
  for (std::size_t at = 0; (at = seen.text.find("thread ", at)) != std::string::npos; ++at) whole += seen.text[at + 8] == '\n';
  EXPECT_EQ(whole, 800U);
}

TEST(Progress, Clocks) {
  const double wall = wall_seconds(), cpu = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  EXPECT_GE(wall_seconds() - wall, 0.03);
  EXPECT_LT(cpu_seconds() - cpu, 0.02);
  EXPECT_FALSE(no_progress().stop_requested());
}

}  // namespace
}  // namespace assay
