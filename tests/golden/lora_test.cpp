// Adapters of PEFT, merged on loading, against the logits of peft's own merge.
#include "assay/model/checkpoint.h"
#include "model_support.h"
#include "support.h"

int assay::golden::lora() {
  using namespace assay;
  return golden::run("lora", [](golden::Account& account, const fs::path& folder) {
    for (const Json& entry : read_json(folder / "index.json")) {
      const auto name = require<std::string>(entry, "name", "index.json");
      const fs::path base = folder.parent_path() / require<std::string>(entry, "base", name);
      account.run_case(name, [&] {
        const NamedTensors golden = SafetensorsFile(folder / name / "golden.safetensors").all();
        const Transformer model = load_transformer(base.string() + "+" + (folder / name).string());
        const Tensor wanted = golden.at("merged_logits");
        const Tensor logits = model.logits(model.forward(golden::unpad(golden.at("input_ids")).batch));
        account.near(golden::largest_difference(logits, wanted.reshape({-1, wanted.size(-1)})), 0, 2e-4, "merged_logits");
        for (const auto& [key, weight] : stored_tensors(model, [](const Tensor& t) { return t; }))
          if (const auto merged = golden.find("merged." + key); merged != golden.end())
            account.near(golden::largest_difference(weight, merged->second), 0, 1e-6, key);
      });
    }
  });
}
