#include "assay/base/processes.h"

#include <gtest/gtest.h>

#include <mutex>

#include "assay/base/error.h"
#include "assay/base/files.h"

namespace assay {
namespace {

struct Recorder final : Progress {
  std::string log;
  bool stop = false;
  std::string stop_at;  // stops once an update holds this
  void begin(std::string_view, std::int64_t, std::string_view) override {}
  void update(std::int64_t, std::string_view metric) override {
    log += "[" + std::string(metric) + "]";
    if (!stop_at.empty() && metric.find(stop_at) != std::string_view::npos) stop = true;
  }
  void end(std::string_view) override {}
  void note(std::string_view line) override { log += "note " + std::string(line) + "\n"; }
  void warn(std::string_view line) override { log += "warn " + std::string(line) + "\n"; }
  [[nodiscard]] bool stop_requested() const override { return stop; }
};

Process shell(const std::string& name, const std::string& script) { return {name, {"/bin/sh", "-c", script}}; }

TEST(Processes, RelaysWhatChildrenReport) {
  Recorder progress;
  run_processes(
      {shell(
           "one",
           R"(echo '{"relay":"note","text":"hello"}'; echo noise; echo '{"relay":"begin","text":"sft","n":3}'; echo '{"relay":"end","text":"loss 1"}')"),
       shell("", R"(echo '{"relay":"warn","text":"careful"}'; echo '{"relay":5,"n":"x"}')")},
      2, progress);
  EXPECT_NE(progress.log.find("note one: hello\n"), std::string::npos) << progress.log;
  EXPECT_NE(progress.log.find("note one: sft done, loss 1\n"), std::string::npos);
  EXPECT_NE(progress.log.find("warn careful\n"), std::string::npos);
}

TEST(Processes, AChildsOwnErrorIsThrownWithItsNameAndTheOthersEnd) {
  Recorder progress;
  const double start = wall_seconds();
  try {
    run_processes({shell("slow", "exec sleep 30"),
                   shell("bad", R"(echo '{"error":{"operation":"op","message":"it broke","hint":"mend it"}}'; exit 1)")},
                  2, progress);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.operation(), "op");
    EXPECT_EQ(e.message(), "bad: it broke");
    EXPECT_EQ(e.hint(), "mend it");
  }
  EXPECT_LT(wall_seconds() - start, 20);
  EXPECT_THROW(run_processes({shell("dead", "kill -9 $$")}, 1, progress), Error);
  EXPECT_THROW(run_processes({Process{"none", {"/no/such/program"}}}, 1, progress), Error);
}

TEST(Processes, StoppingAsksEveryChildOnce) {
  const TemporaryFolder folder;
  Recorder progress;
  progress.stop_at = "ready";
  const std::string file = (folder.path() / "asked").string();
  // Counts the signals that arrive until it ends.
  const std::string script =
      "trap 'echo x >> " + file +
      "; sleep 0.3; exit 1' TERM; echo '{\"relay\":\"begin\",\"text\":\"ready\",\"n\":1}'; while :; do sleep 0.05; done";
  EXPECT_THROW(run_processes({shell("a", script), shell("b", "exit 0")}, 1, progress), Interrupted);
  EXPECT_EQ(read_text(file), "x\n");
}

TEST(Processes, AtMostSoManyAtATime) {
  const TemporaryFolder folder;
  Recorder progress;
  // Each fails where two others are there already.
  const std::string script =
      "cd " + folder.path().string() + "; mkdir $$ && [ $(ls | wc -l) -le 2 ] && sleep 0.1; code=$?; rmdir $$; exit $code";
  EXPECT_NO_THROW(run_processes({shell("1", script), shell("2", script), shell("3", script), shell("4", script)}, 2, progress));
}

}  // namespace
}  // namespace assay
