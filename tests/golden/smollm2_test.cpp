// SmolLM2-135M-Instruct against transformers: logits, residual streams, log-probabilities. Needs the model as a Hugging Face folder (assay
// model fetch smollm2-135m-instruct): the one that ASSAY_SMOLLM2 names, or the one in the user's cache.
#include "model_support.h"
#include "support.h"

namespace assay::golden {
namespace {

void check_prompt(Account& account, const Transformer& model, const NamedTensors& golden, const Json& prompt) {
  const auto name = require<std::string>(prompt, "name", "golden.json");
  TokenBatch batch;
  batch.add(require<std::vector<std::int32_t>>(prompt, "input_ids", name));
  Hooks hooks;
  for (const char* layer : {"0", "10", "20", "29"}) hooks.read("blocks." + std::string(layer) + ".hook_resid_post");
  const Tensor logits = model.logits(model.forward(batch, {Precision::f32, &hooks}));
  account.near(largest_difference(logits.logsumexp(1), golden.at(name + ".logsumexp")), 0, 1e-3, name + " logsumexp");
  const Tensor top = golden.at(name + ".top20.ids").to(at::kLong);
  account.near(largest_difference(logits.gather(1, top), golden.at(name + ".top20.logits")), 0, 1e-3, name + " logits of the 20 best");
  // No other token may stand among them.
  const Tensor twentieth = std::get<0>(logits.topk(20, 1)).select(1, 19);
  account.near(largest_difference(twentieth, golden.at(name + ".top20.logits").select(1, 19)), 0, 1e-3, name + " twentieth logit");
  for (const char* layer : {"0", "10", "20", "29"}) {
    const Tensor resid = hooks.captured("blocks." + std::string(layer) + ".hook_resid_post");
    const auto key = name + ".resid_post." + layer;
    const Tensor norms = golden.at(key + ".norm").to(at::kDouble);
    account.near(((resid.to(at::kDouble).norm(2, 1) - norms) / norms).abs().max().item<double>(), 0, 1e-4, key + ".norm");
    const Tensor off = (resid.narrow(1, 0, 8) - golden.at(key + ".first8")).abs() / (1 + golden.at(key + ".first8").abs());
    account.near(off.max().item<double>(), 0, 1e-3, key + ".first8");
  }
  TokenBatch whole;
  auto ids = batch.ids;
  const auto completion = require<std::vector<std::int32_t>>(prompt, "completion_ids", name);
  ids.insert(ids.end(), completion.begin(), completion.end());
  whole.add(ids);
  const auto n = static_cast<std::int64_t>(completion.size());
  const Tensor hidden = model.forward(whole).narrow(0, batch.n_tokens() - 1, n);
  account.near(token_logprobs(model, hidden, completion).sum().item<double>(), require<double>(prompt, "completion_sum_logprob", name),
               5e-3, name + " log p of the completion");
}

}  // namespace
}  // namespace assay::golden

int assay::golden::smollm2() {
  using namespace assay;
  return golden::run("smollm2", [](golden::Account& account, const fs::path& folder) {
    const auto model_folder = golden::smollm2_folder();
    if (!fs::exists(model_folder / "model.safetensors")) {
      std::printf("skipped: %s holds no model.safetensors (make test-all fetches it; or ASSAY_SMOLLM2=FOLDER)\n", model_folder.c_str());
      std::exit(77);
    }
    const Transformer model = golden::load_folder(model_folder, model_folder / "config.json");
    const NamedTensors golden = SafetensorsFile(folder / "golden.safetensors").all();
    const Json prompts = require<Json>(read_json(folder / "golden.json"), "prompts", "golden.json");
    for (const Json& prompt : prompts) {
      account.run_case(require<std::string>(prompt, "name", "golden.json"), [&] { golden::check_prompt(account, model, golden, prompt); });
    }
  });
}
