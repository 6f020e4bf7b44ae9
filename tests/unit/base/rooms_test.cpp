// Who may include whom: reads the include lines of src/assay. The rule stands in docs/design/architecture.md.
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "assay/base/files.h"

namespace assay {
namespace {

using Rooms = std::map<std::string, std::set<std::string>>;

/// Each room and the rooms it uses; it may use what they use too.
const Rooms kUses = {{"base", {}},
                     {"text", {"base", "bridge"}},
                     {"tensor", {"base"}},
                     {"corpus", {"text"}},
                     {"model", {"tensor", "text"}},
                     {"train", {"model", "corpus"}},
                     {"routing", {"train"}},
                     {"sae", {"train"}},
                     {"organism", {"routing"}},
                     {"audit", {"organism", "sae"}},
                     {"report", {"base"}},
                     {"serve", {"audit", "report"}},
                     {"cli", {"serve", "report"}}};
const std::set<std::string> kWithoutLibtorch = {"base", "text", "corpus", "report"};

void add_all(const std::string& room, std::set<std::string>& allowed) {
  if (!allowed.insert(room).second || !kUses.contains(room)) return;
  for (const std::string& used : kUses.at(room)) add_all(used, allowed);
}

/// What is wrong with one line of a file of `room`; empty where nothing is.
std::string complaint(const std::string& room, const std::string& line) {
  static const std::regex kInclude(R"(^\s*#\s*include\s*([<"])([^>"]+)[>"])");
  std::smatch match;
  if (!std::regex_search(line, match, kInclude)) return {};
  const std::string header = match[2];
  static const std::regex kLibtorch(R"(^(ATen|c10|torch|caffe2)/)");
  if (std::regex_search(header, kLibtorch)) {
    if (header == "torch/torch.h") return "includes torch/torch.h (ten seconds for each file; include what is used)";
    return kWithoutLibtorch.contains(room) ? "sees libtorch (" + header + ")" : "";
  }
  if (match[1] == "<") return {};
  if (!header.starts_with("assay/") || header.find("..") != std::string::npos) {
    return header.find('/') == std::string::npos && header.starts_with("assay_bridge")
               ? ""
               : "includes \"" + header + "\" by a path that is not assay/...";
  }
  const std::string used = header.substr(6, header.find('/', 6) - 6);
  std::set<std::string> allowed;
  add_all(room, allowed);
  return allowed.contains(used) ? "" : "may not include " + header;
}

TEST(Rooms, EveryIncludeIsAllowed) {
  const fs::path source = fs::path(ASSAY_SOURCE_DIR) / "src" / "assay";
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(source)) {
    const std::string extension = entry.path().extension().string();
    if (extension != ".h" && extension != ".cpp") continue;
    ++files;
    const std::string room = entry.path().lexically_relative(source).begin()->string();
    EXPECT_TRUE(kUses.contains(room)) << entry.path() << " is in no known room";
    std::istringstream text(read_text(entry.path()));
    int number = 0;
    for (std::string line; std::getline(text, line);) {
      ++number;
      EXPECT_EQ(complaint(room, line), "") << entry.path().string() << ":" << number << " (room " << room << ")";
    }
  }
  EXPECT_GT(files, 20);
}

TEST(Rooms, TheRuleRefusesWhatItShould) {
  EXPECT_NE(complaint("base", "#include \"assay/text/tokenizer.h\""), "");
  EXPECT_NE(complaint("report", "#include \"assay/tensor/tensor.h\""), "");
  EXPECT_NE(complaint("routing", "#include \"assay/sae/trainer.h\""), "");
  EXPECT_NE(complaint("corpus", "  # include <ATen/core/Tensor.h>"), "");
  EXPECT_NE(complaint("text", "#include <c10/core/Device.h>"), "");
  EXPECT_NE(complaint("model", "#include <torch/torch.h>"), "");
  EXPECT_NE(complaint("model", "#include \"../train/trainer.h\""), "");
  EXPECT_EQ(complaint("model", "#include <ATen/core/Tensor.h>"), "");
  EXPECT_EQ(complaint("audit", "#include \"assay/corpus/jsonl.h\""), "");
  EXPECT_EQ(complaint("cli", "#include \"assay/sae/trainer.h\""), "");
  EXPECT_EQ(complaint("base", "#include <vector>"), "");
}

}  // namespace
}  // namespace assay
