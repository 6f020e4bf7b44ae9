// Preference losses against TRL's (golden/losses): the sigmoid DPO loss, with label smoothing, with a next-token loss beside it; loss and
// gradient.
#include <ATen/ATen.h>

#include "assay/tensor/safetensors.h"
#include "assay/train/objectives/dpo_loss.h"
#include "support.h"

namespace assay {
namespace {

constexpr double kAbsolute = 1e-6, kRelative = 1e-5;

/// Why a case is not one of ours; empty where it is.
std::string unsupported(const Json& c) {
  const auto losses = c.at("loss").get<std::vector<std::string>>();
  if (losses != std::vector<std::string>{"sigmoid"} && losses != std::vector<std::string>{"sigmoid", "sft"}) return dump(c.at("loss"));
  if (c.at("f") != "reverse_kl") return "divergence " + c.at("f").get<std::string>();
  if (!c.at("ld").is_null()) return "LD-DPO";
  if (c.at("wpo").get<bool>()) return "WPO";
  return "";
}

void check_loss(golden::Account& account, const Json& c, const NamedTensors& vectors) {
  const std::string name = "case" + std::to_string(c.at("case").get<int>());
  // Columns belong to predicted positions 1..T-1.
  const Tensor mask = vectors.at("completion_mask").slice(1, 1).to(at::kDouble);
  const Tensor policy = vectors.at("policy_logps").to(at::kDouble).requires_grad_(true),
               reference = vectors.at("ref_logps").to(at::kDouble);
  const std::int64_t pairs = policy.size(0) / 2;
  const auto sums = [&](const Tensor& logps) {
    const Tensor all = at::where(mask.gt(0), logps, at::zeros_like(logps)).sum(1);  // what is outside the mask is noise
    return PairLogProbs{.chosen = all.slice(0, 0, pairs), .rejected = all.slice(0, pairs)};
  };
  const PairLogProbs sum = sums(policy);
  Tensor loss = dpo_sigmoid_loss(sum, sums(reference), c.at("beta").get<double>(), c.at("label_smoothing").get<double>()).loss;
  if (c.at("loss").size() == 2) {
    const auto weights = c.at("weights").get<std::vector<double>>();
    const Tensor nll = -sum.chosen.sum() / mask.slice(0, 0, pairs).sum();
    loss = weights.at(0) * loss + weights.at(1) * nll;
  }
  loss.backward();
  account.near(loss.item<double>(), vectors.at(name + ".loss").item<double>(), kAbsolute, name + " loss", kRelative);
  account.near(loss.item<double>(), c.at("loss_value").get<double>(), kAbsolute, name + " loss_value", kRelative);
  const Tensor wanted = vectors.at(name + ".grad_policy_logps").to(at::kDouble);
  const double excess = ((policy.grad() - wanted).abs() - kRelative * wanted.abs()).max().item<double>();
  account.near(std::max(excess, 0.0), 0, kAbsolute, name + " gradient");
}

}  // namespace
}  // namespace assay

int assay::golden::losses() {
  using namespace assay;
  return golden::run("losses", [](golden::Account& account, const fs::path& folder) {
    const Json cases = read_json(folder / "dpo.json").at("cases");
    const NamedTensors vectors = SafetensorsFile(folder / "dpo.safetensors").all();
    for (const Json& c : cases) {
      const std::string name = "dpo case " + std::to_string(c.at("case").get<int>());
      const std::string why = unsupported(c);
      if (!why.empty()) {
        account.not_run(name, why);
      } else {
        account.run_case(name, [&] { check_loss(account, c, vectors); });
      }
    }
    for (const char* family : {"kto", "grpo"}) {
      if (fs::exists(folder / (std::string(family) + ".json"))) account.not_run(family, "not an objective of this version");
    }
  });
}
