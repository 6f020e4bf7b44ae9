// A run that is killed (SIGKILL) at any point and started again ends in the same bits as one that was left alone. The killed runs are
// processes of their own: this program started again with the disabled test below.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "assay/base/files.h"
#include "tiny_model.h"

extern char** environ;

namespace assay {
namespace {

using namespace testing_tools;

constexpr std::int64_t kSteps = 24;

/// Kills its own process when a step is reached, or some time after training began, whatever it is doing then.
class Killer final : public Progress {
 public:
  Killer(std::int64_t step, std::int64_t microseconds) : step_(step), microseconds_(microseconds) {}
  void begin(std::string_view, std::int64_t, std::string_view) override {
    if (microseconds_ < 0) return;
    std::thread([wait = microseconds_] {
      ::usleep(static_cast<useconds_t>(wait));
      ::kill(::getpid(), SIGKILL);
    }).detach();
  }
  void update(std::int64_t done, std::string_view) override {
    if (done == step_) ::kill(::getpid(), SIGKILL);
  }
  void end(std::string_view) override {}
  void note(std::string_view) override {}
  void warn(std::string_view) override {}
  [[nodiscard]] bool stop_requested() const override { return false; }

 private:
  std::int64_t step_, microseconds_;
};

TEST(ResumeChild, DISABLED_Run) {
  const char *folder = std::getenv("ASSAY_TEST_FOLDER"), *step = std::getenv("ASSAY_TEST_STEP"), *wait = std::getenv("ASSAY_TEST_WAIT");
  ASSERT_TRUE(folder != nullptr && step != nullptr && wait != nullptr);
  Transformer model = tiny_model();
  const auto objective = counting_objective();
  Killer progress(std::atoll(step), std::atoll(wait));
  train(model, *objective, quick_options(kSteps), folder, progress);
}

/// Runs the child to its end or death; the wait status.
int run_child(const fs::path& folder, std::int64_t step, std::int64_t microseconds) {
  ::setenv("ASSAY_TEST_FOLDER", folder.c_str(), 1);
  ::setenv("ASSAY_TEST_STEP", std::to_string(step).c_str(), 1);
  ::setenv("ASSAY_TEST_WAIT", std::to_string(microseconds).c_str(), 1);
  std::string program = fs::read_symlink("/proc/self/exe"), filter = "--gtest_filter=ResumeChild.DISABLED_Run",
              disabled = "--gtest_also_run_disabled_tests", brief = "--gtest_brief=1";
  char* arguments[] = {program.data(), filter.data(), disabled.data(), brief.data(), nullptr};
  pid_t pid = 0;
  EXPECT_EQ(::posix_spawn(&pid, program.c_str(), nullptr, nullptr, arguments, environ), 0);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return status;
}

TEST(Resume, AKilledRunEndsInTheSameBits) {
  const TemporaryFolder folder;
  Transformer whole = tiny_model(), killed = tiny_model();
  const auto first = counting_objective(), second = counting_objective();
  const TrainResult expected = train(whole, *first, quick_options(kSteps), folder.path() / "whole", no_progress());
  // Before any checkpoint, on one, after one, near the end.
  for (const std::int64_t step : {2, 4, 7, 13, 23}) {
    const int status = run_child(folder.path() / "killed", step, -1);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << step;
  }
  const TrainResult result = train(killed, *second, quick_options(kSteps), folder.path() / "killed", no_progress());
  EXPECT_TRUE(same_bits(whole, killed));
  EXPECT_EQ(result.final_loss, expected.final_loss);
  EXPECT_EQ(result.tokens, expected.tokens);
}

TEST(Resume, KillsAtArbitraryMomentsLoseNothing) {
  const TemporaryFolder folder;
  Transformer whole = tiny_model(), killed = tiny_model();
  const auto first = counting_objective(), second = counting_objective();
  train(whole, *first, quick_options(kSteps), folder.path() / "whole", no_progress());
  int died = 0;
  for (const int microseconds : {500, 3000, 7000, 12000, 20000, 5000})
    died += WIFSIGNALED(run_child(folder.path() / "killed", -1, microseconds));
  EXPECT_GE(died, 2);
  train(killed, *second, quick_options(kSteps), folder.path() / "killed", no_progress());
  EXPECT_TRUE(same_bits(whole, killed));
}

}  // namespace
}  // namespace assay
