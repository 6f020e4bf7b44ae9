// Forward passes, losses, gradients and greedy tokens of tiny models against transformers.
#include "model_support.h"
#include "support.h"

namespace assay::golden {
namespace {

constexpr double kTolerance = 2e-4;

/// Hidden states and logits of one batch of the vectors, "single", "right" or "left".
void check_forward(Account& account, const Transformer& model, const NamedTensors& golden, const std::string& batch) {
  const auto mask = golden.find(batch + ".attention_mask");
  const auto input = unpad(golden.at(batch + ".input_ids"), mask == golden.end() ? Tensor() : mask->second);
  Hooks hooks;
  hooks.read("blocks.0.hook_resid_pre");
  for (std::int64_t l = 0; l < model.config.n_layers; ++l) hooks.read("blocks." + std::to_string(l) + ".hook_resid_post");
  const Tensor hidden = model.forward(input.batch, {Precision::f32, &hooks});
  const auto compare = [&](const std::string& name, const Tensor& value) {
    const Tensor wanted = golden.at(batch + "." + name);
    account.near(largest_difference(value, wanted.reshape({-1, wanted.size(-1)}).index_select(0, input.index())), 0, kTolerance,
                 batch + "." + name);
  };
  compare("embed", hooks.captured("blocks.0.hook_resid_pre"));
  for (std::int64_t l = 0; l < model.config.n_layers; ++l) {
    compare("resid_post." + std::to_string(l), hooks.captured("blocks." + std::to_string(l) + ".hook_resid_post"));
  }
  compare("final_norm", hidden);
  compare("logits", model.logits(hidden));
}

void check_bf16(Account& account, const Transformer& model, const NamedTensors& golden, double difference) {
  const auto input = unpad(golden.at("single.input_ids"));
  const Tensor logits = model.logits(model.forward(input.batch, {Precision::bf16}), Precision::bf16);
  account.near(largest_difference(logits, golden.at("bf16_compute.logits").reshape({-1, logits.size(1)})), 0, 2 * difference,
               "bf16_compute.logits");
}

void check_greedy(Account& account, const Transformer& model, const NamedTensors& golden) {
  auto ids = unpad(golden.at("single.input_ids")).batch.ids;
  const Tensor wanted = golden.at("greedy.tokens").reshape({-1}), gaps = golden.at("greedy.top2_gap").reshape({-1});
  for (std::int64_t i = 0; i < wanted.size(0) && gaps[i].item<double>() >= 1e-3; ++i) {
    TokenBatch batch;
    batch.add(ids);
    const auto next = model.logits(model.forward(batch))[batch.n_tokens() - 1].argmax().item<std::int64_t>();
    if (!account.check(next == wanted[i].item<std::int64_t>(), "greedy token " + std::to_string(i))) return;
    ids.push_back(static_cast<std::int32_t>(next));
  }
}

/// Gradients to the vectors' norms and first entries. Only those that are not rounding noise count.
void check_training(Account& account, Transformer& model, const NamedTensors& golden) {
  const Tensor all_targets = golden.at("train.targets");
  const auto columns = all_targets.size(1);
  const auto input = unpad(golden.at("right.input_ids"), golden.at("right.attention_mask"));
  const auto length = golden.at("right.input_ids").size(1);
  std::vector<std::int32_t> targets;
  std::vector<float> weights;
  for (const auto place : input.places) {
    const auto row = place / length, column = place % length;
    const auto target = column < columns ? all_targets[row][column].item<std::int64_t>() : -100;
    targets.push_back(target < 0 ? 0 : static_cast<std::int32_t>(target));
    weights.push_back(target < 0 ? 0.0F : 1.0F);
  }
  const auto count = std::count(weights.begin(), weights.end(), 1.0F);
  model.set_requires_grad(true);
  const Tensor hidden = model.forward(input.batch);
  const Tensor loss = weighted_cross_entropy(model, hidden, targets, weights) / static_cast<double>(count);
  account.near(loss.item<double>(), golden.at("train.loss").item<double>(), kTolerance, "train.loss");
  loss.backward();
  for (const auto& [name, gradient] : stored_gradients(model)) {
    const auto norm = golden.find("train.grad_norm." + name);
    if (!account.check(norm != golden.end(), "a gradient for " + name)) continue;
    const double wanted = norm->second.item<double>();
    account.near(gradient.to(at::kDouble).norm().item<double>(), wanted, 1e-5, "train.grad_norm." + name, 1e-3);
    const Tensor first = golden.at("train.grad_first16." + name);
    account.near(largest_difference(gradient.reshape({-1}).narrow(0, 0, first.size(0)), first), 0, 1e-5 + 1e-3 * wanted,
                 "train.grad_first16." + name);
  }
}

}  // namespace
}  // namespace assay::golden

int assay::golden::models() {
  using namespace assay;
  return golden::run("models", [](golden::Account& account, const fs::path& folder) {
    for (const Json& entry : read_json(folder / "index.json")) {
      const auto name = entry.is_string() ? entry.get<std::string>() : require<std::string>(entry, "case", "index.json");
      const fs::path at = folder / name;
      try {
        (void)config_from_hf(read_json(at / "hf" / "config.json"), name);
      } catch (const Error& e) {
        golden::unsupported_or_failed(account, name, e);
        continue;
      }
      account.run_case(name, [&] {
        const NamedTensors golden = SafetensorsFile(at / "golden.safetensors").all();
        const Json meta = read_json(at / "meta.json");
        Transformer model = golden::load_folder(at / "hf", at / "hf" / "config.json");
        for (const char* batch : {"single", "right", "left"}) golden::check_forward(account, model, golden, batch);
        if (fs::exists(at / "config_v4style.json")) {
          const Transformer older = golden::load_folder(at / "hf", at / "config_v4style.json");
          golden::check_forward(account, older, golden, "single");
        }
        golden::check_greedy(account, model, golden);
        if (golden.contains("bf16_compute.logits")) {
          golden::check_bf16(account, model, golden, require<double>(meta, "bf16_compute_max_abs_diff_to_f32", name));
        }
        golden::check_training(account, model, golden);
      });
    }
  });
}
