// The published form of gradient routing, v' = m v + (1 - m) stopgrad(v), as scale_gradient hooks against the reference's gradients.
#include "model_support.h"
#include "support.h"

namespace assay::golden {
namespace {

const std::map<std::string, std::string> kPlaces = {{"mlp_post", "mlp.hook_post"},
                                                    {"attn_z", "attn.hook_z"},
                                                    {"resid_post", "hook_resid_post"},
                                                    {"mlp_out", "hook_mlp_out"},
                                                    {"attn_out", "hook_attn_out"}};

/// Mean cross entropy of the next token with the masks of `golden` at `place`; gradients to grad.*.
void check_gradients(Account& account, Transformer& model, const Tensor& ids, const NamedTensors& golden, const std::string& place) {
  const auto B = ids.size(0), L = ids.size(1);
  const auto input = unpad(ids);
  std::vector<std::int32_t> targets;
  std::vector<float> weights;
  for (std::int64_t i = 0; i < B * L; ++i) {
    const bool last = i % L == L - 1;
    targets.push_back(last ? 0 : input.batch.ids[static_cast<std::size_t>(i + 1)]);
    weights.push_back(last ? 0.0F : 1.0F / static_cast<float>(B * (L - 1)));
  }
  Hooks hooks;
  for (const auto& [name, tensor] : golden) {
    if (name.rfind("mask.", 0) != 0) continue;
    Tensor mask = tensor.reshape({B * L, -1});
    if (place == "attn.hook_z") mask = mask.unsqueeze(2);
    hooks.scale_gradient("blocks." + name.substr(5) + "." + place, mask);
  }
  model.each_parameter([](const std::string&, Tensor& value) { value.mutable_grad() = Tensor(); });
  const Tensor hidden = model.forward(input.batch, {Precision::f32, &hooks});
  const Tensor loss = weighted_cross_entropy(model, hidden, targets, weights);
  account.near(loss.item<double>(), golden.at("loss").item<double>(), 1e-5, "loss", 1e-5);
  loss.backward();
  for (const auto& [name, gradient] : stored_gradients(model)) {
    const Tensor wanted = golden.at("grad." + name).to(at::kDouble), got = gradient.to(at::kDouble);
    const double excess = ((got - wanted).abs() - 1e-4 * wanted.abs()).max().item<double>();
    account.check(excess <= 1e-5, "grad." + name + " is off by " + std::to_string(excess));
  }
}

}  // namespace
}  // namespace assay::golden

int assay::golden::routing() {
  using namespace assay;
  return golden::run("routing", [](golden::Account& account, const fs::path& folder) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (!entry.is_directory()) continue;
      const auto family = entry.path().filename().string();
      try {
        (void)config_from_hf(read_json(entry.path() / "hf" / "config.json"), family);
      } catch (const Error& e) {
        account.not_run(family, e.message());
        continue;
      }
      Transformer model = golden::load_folder(entry.path() / "hf", entry.path() / "hf" / "config.json");
      model.set_requires_grad(true);
      const NamedTensors unmasked = SafetensorsFile(entry.path() / "unmasked.safetensors").all();
      account.run_case(family + "/unmasked", [&] { golden::check_gradients(account, model, unmasked.at("input_ids"), unmasked, ""); });
      for (const auto& file : fs::directory_iterator(entry.path() / "published")) {
        account.run_case(family + "/" + file.path().stem().string(), [&] {
          const SafetensorsFile vectors(file.path());
          const auto site = vectors.metadata().at("site");
          golden::check_gradients(account, model, unmasked.at("input_ids"), vectors.all(), golden::kPlaces.at(site));
        });
      }
      account.not_run(family + "/exact", "exact parameter masks are not there yet");
    }
  });
}
