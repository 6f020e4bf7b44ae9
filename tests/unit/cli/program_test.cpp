#include <gtest/gtest.h>

#include <iostream>
#include <sstream>

#include "assay/base/json.h"
#include "assay/cli/program.h"

namespace assay::cli {
namespace {

struct Outcome {
  int code = 0;
  std::string out, err;
};

/// The program in this process, with its streams caught.
Outcome run(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "assay");
  std::ostringstream out, err;
  auto* const cout = std::cout.rdbuf(out.rdbuf());
  auto* const cerr = std::cerr.rdbuf(err.rdbuf());
  const int code = run_program(static_cast<int>(arguments.size()), arguments.data());
  std::cout.rdbuf(cout);
  std::cerr.rdbuf(cerr);
  return {code, out.str(), err.str()};
}

TEST(Program, VersionAsTextAndAsJson) {
  const Outcome text = run({"--version"});
  EXPECT_EQ(text.code, 0);
  EXPECT_EQ(text.out.rfind("assay ", 0), 0U);
  const Outcome json = run({"--json", "--version"});
  EXPECT_EQ(json.code, 0);
  const Json value = parse_json(json.out, "stdout");
  for (const char* key : {"version", "commit", "torch", "device"}) EXPECT_FALSE(require<std::string>(value, key, "version").empty()) << key;
}

TEST(Program, HelpIsASuccess) {
  const Outcome help = run({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const char* flag : {"--json", "--seed", "--threads", "--device", "--dtype", "--quiet"}) {
    EXPECT_NE(help.out.find(flag), std::string::npos) << flag;
  }
  EXPECT_EQ(run({}).code, 0) << "assay alone shows the help";
}

TEST(Program, WrongUsageIsCode2) {
  for (const std::vector<const char*>& arguments :
       {std::vector<const char*>{"--no-such-flag"}, {"no-such-command"}, {"--seed", "x"}, {"--dtype", "f8"}}) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.code, 2) << arguments[0];
    EXPECT_TRUE(outcome.out.empty());
    EXPECT_NE(outcome.err.find("assay: [usage]"), std::string::npos) << outcome.err;
  }
}

TEST(Program, WithJsonAFailureIsOneObject) {
  const Outcome outcome = run({"--json", "no-such-command"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err, "");
  const Json error = parse_json(outcome.out, "stdout").at("error");
  EXPECT_EQ(error.at("operation"), "usage");
  EXPECT_NE(error.at("message").get<std::string>().find("no-such-command"), std::string::npos);
  EXPECT_TRUE(error.contains("hint"));
}

}  // namespace
}  // namespace assay::cli
