// AdamW against torch's (golden/optim): weights and moments after each step, blocks that are left alone, clipping, rates that change by
// step.
#include <ATen/ATen.h>

#include <algorithm>

#include "assay/tensor/safetensors.h"
#include "assay/train/adamw.h"
#include "support.h"

namespace assay {
namespace {

constexpr double kTolerance = 1e-6;

class Case {
 public:
  Case(golden::Account& account, const Json& all, std::string name, const Json& options, const NamedTensors& golden)
      : account_(account), steps_(require<int>(all, "steps", "cases.json")), name_(std::move(name)), options_(options), golden_(golden) {
    // torch decays every parameter that it is given.
    for (const auto& [p, shape] : all.at("shapes").items())
      parameters_.push_back({.name = p, .value = at("init." + p).clone(), .decay = true});
  }

  void run() {
    const auto betas = options_.at("betas").get<std::vector<double>>();
    const bool decoupled = value_or<std::string>(options_, "cls", "AdamW", name_) == "AdamW";
    AdamW optimizer(parameters_, {.beta1 = betas.at(0),
                                  .beta2 = betas.at(1),
                                  .eps = value_or(options_, "eps", 1e-8, name_),
                                  .weight_decay = decoupled ? options_.at("weight_decay").get<double>() : 0.0});
    const std::size_t block = options_.contains("block_rows") ? optimizer.add_block(slices()) : 0;
    for (int step = 1; step <= steps_; ++step) {
      const std::string prefix = name_ + ".step" + std::to_string(step) + ".";
      for (auto& p : parameters_) p.value.mutable_grad() = at("grad.step" + std::to_string(step) + "." + p.name).clone();
      if (block != 0) {
        const auto frozen = options_.at("frozen_steps").get<std::vector<int>>();
        optimizer.set_stepped(block, std::find(frozen.begin(), frozen.end(), step) == frozen.end());
      }
      double scale = 1;
      if (const auto clip = options_.find("clip"); clip != options_.end() && !clip->is_null()) {
        const double norm = optimizer.gradient_norm();
        scale = std::min(1.0, clip->get<double>() / (norm + 1e-6));
        if (golden_.contains(prefix + "total_norm")) compare(at::scalar_tensor(norm), prefix + "total_norm");
      }
      const double lr = options_.contains("lrs") ? options_.at("lrs").at(static_cast<std::size_t>(step - 1)).get<double>()
                                                 : options_.at("lr").get<double>();
      optimizer.step(lr, scale);
      const NamedTensors state = optimizer.state();
      for (const auto& p : parameters_) {
        compare(p.value, prefix + p.name);
        compare(state.at("exp_avg/" + p.name), prefix + p.name + ".exp_avg");
        compare(state.at("exp_avg_sq/" + p.name), prefix + p.name + ".exp_avg_sq");
        if (block != 0) {
          compare(state.at("step_counts/" + p.name)[0], prefix + p.name + ".rest_step_count");
          compare(state.at("step_counts/" + p.name)[1], prefix + p.name + ".block_step_count");
        }
      }
    }
  }

 private:
  [[nodiscard]] const Tensor& at(const std::string& name) const {
    const auto found = golden_.find(name);
    if (found == golden_.end()) throw Error("golden", "the vectors lack " + name);
    return found->second;
  }
  [[nodiscard]] std::vector<ParameterSlice> slices() const {
    std::vector<ParameterSlice> all;
    for (const auto& [p, rows] : options_.at("block_rows").items()) {
      for (const auto& row : rows) all.push_back({p, 0, row.get<std::int64_t>(), row.get<std::int64_t>() + 1});
    }
    return all;
  }
  void compare(const Tensor& ours, const std::string& name) {
    account_.near((ours.to(at::kDouble) - at(name).to(at::kDouble)).abs().max().item<double>(), 0, kTolerance, name);
  }

  golden::Account& account_;
  int steps_;
  std::string name_;
  const Json& options_;
  const NamedTensors& golden_;
  std::vector<TrainedParameter> parameters_;
};

}  // namespace
}  // namespace assay

int assay::golden::optim() {
  using namespace assay;
  return golden::run("optim", [](golden::Account& account, const fs::path& folder) {
    const Json all = read_json(folder / "cases.json");
    const NamedTensors vectors = SafetensorsFile(folder / "golden.safetensors").all();
    for (const auto& [name, options] : all.at("cases").items()) {
      const std::string kind = value_or<std::string>(options, "cls", "AdamW", name);
      // L2 decay inside the gradient is another optimiser than decoupled decay.
      if (kind != "AdamW" && !(kind == "Adam" && value_or(options, "weight_decay", 0.0, name) == 0.0)) {
        account.not_run(name, kind);
        continue;
      }
      account.run_case(name, [&] { Case(account, all, name, options, vectors).run(); });
    }
  });
}
