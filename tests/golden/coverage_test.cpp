// Which folders of vectors no test of this version reads, and which it would read and does not find: nothing is left out without a word.
#include <set>

#include "support.h"

int assay::golden::coverage() {
  return run("", [](Account& account, const fs::path& folder) {
    const std::set<std::string> read = {"chat",  "lora",    "losses", "metrics", "minilm",    "models",
                                        "optim", "routing", "sae",    "smollm2", "tokenizers"};
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename();
      if (!entry.is_directory()) continue;
      if (!read.contains(name))
        account.not_run(name, "no test of this version reads them");
      else
        account.run_case(name, [&] { account.check(!fs::is_empty(entry.path()), "the folder is empty"); });
    }
    for (const std::string& name : read)
      if (!fs::is_directory(folder / name)) account.not_run(name, "there is no such folder");
  });
}
