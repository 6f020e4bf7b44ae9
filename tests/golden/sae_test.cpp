// SAEs against SAELens' own (golden/sae/saelens): activations and reconstructions of saved ones, losses and gradients of topk training; the
// metrics against its evals (golden/metrics).
#include <ATen/ATen.h>

#include "assay/sae/evaluate.h"
#include "assay/sae/formats/saelens.h"
#include "assay/sae/topk_gradients.h"
#include "assay/tensor/safetensors.h"
#include "support.h"

namespace assay {
namespace {

void sae_near(golden::Account& account, const Tensor& got, const Tensor& wanted, double absolute, double relative,
              const std::string& what) {
  const Tensor a = got.to(at::kDouble), b = wanted.to(at::kDouble);
  if (!account.check(a.sizes() == b.sizes(), what + ": shape")) return;
  const Tensor off = (a - b).abs() - (absolute + relative * b.abs());
  const double worst = off.max().item<double>();
  account.near(worst <= 0 ? 0 : (a - b).abs().max().item<double>(), 0, 0, what);
}

Tensor dense_codes(const LatentCodes& codes, std::int64_t F) {
  Tensor out = at::zeros({codes.rows(), F}, at::kDouble);
  for (std::int64_t r = 0; r < codes.rows(); ++r)
    for (auto s = codes.offsets[static_cast<std::size_t>(r)]; s < codes.offsets[static_cast<std::size_t>(r) + 1]; ++s)
      out.data_ptr<double>()[r * F + codes.latents[static_cast<std::size_t>(s)]] = codes.values[static_cast<std::size_t>(s)];
  return out;
}

void check_sae_inference(golden::Account& account, const fs::path& folder, const SafetensorsFile& golden, const std::string& prefix) {
  const Sae sae = load_saelens(folder);
  const LatentCodes codes = sae.encode(golden.tensor("x"));
  sae_near(account, dense_codes(codes, sae.config.d_sae), golden.tensor(prefix + "feature_acts"), 1e-4, 1e-5, "feature_acts");
  sae_near(account, sae.decode(codes), golden.tensor(prefix + "recon"), 1e-4, 1e-5, "recon");
  // Written again and read again it is the same.
  const TemporaryFolder copy;
  save_saelens(copy.path(), sae);
  sae_near(account, load_saelens(copy.path()).reconstruct(golden.tensor("x")), golden.tensor(prefix + "recon"), 1e-4, 1e-5, "saved again");
}

void check_sae_training(golden::Account& account, const fs::path& folder, const Json& about) {
  const SafetensorsFile golden(folder / "golden.safetensors"), stored(folder / "training" / "sae_weights.safetensors");
  const Sae sae = load_saelens(folder / "training");  // decoder norms folded
  const Tensor mask = golden.tensor("dead_mask").to(at::kByte).contiguous();
  const std::vector<std::uint8_t> dead(mask.const_data_ptr<std::uint8_t>(), mask.const_data_ptr<std::uint8_t>() + mask.numel());
  const Json& config = about.at("config");
  const double coefficient = config.contains("aux_loss_coefficient") ? std::stod(config["aux_loss_coefficient"].get<std::string>()) : 1.0;
  const TopKGradients g = topk_gradients(sae, golden.tensor("x"), dead, coefficient);
  account.near(g.mse, golden.tensor("losses.mse_loss").item<double>(), 1e-4, "mse", 1e-5);
  account.near(g.aux, golden.tensor("losses.auxiliary_reconstruction_loss").item<double>(), 1e-4, "aux", 1e-5);
  // Back through the folding: W_enc' = W_enc |w|, b_enc' = b_enc |w|, w' = w / |w|.
  const Tensor w = stored.tensor("W_dec"), n = w.norm(2, 1), unit = sae.W_dec;
  const Tensor to_norm = (g.W_enc * stored.tensor("W_enc").t()).sum(1) + g.b_enc * stored.tensor("b_enc");
  const Tensor W_dec = (g.W_dec - unit * (g.W_dec * unit).sum(1, true)) / n.unsqueeze(1) + unit * to_norm.unsqueeze(1);
  sae_near(account, (g.W_enc * n.unsqueeze(1)).t(), golden.tensor("grad.W_enc"), 1e-4, 1e-4, "grad.W_enc");
  sae_near(account, g.b_enc * n, golden.tensor("grad.b_enc"), 1e-4, 1e-4, "grad.b_enc");
  sae_near(account, W_dec, golden.tensor("grad.W_dec"), 1e-4, 1e-4, "grad.W_dec");
  sae_near(account, g.b_dec, golden.tensor("grad.b_dec"), 1e-4, 1e-4, "grad.b_dec");
  check_sae_inference(account, folder / "inference", golden, "inference.");
}

void check_sae_metrics(golden::Account& account, const fs::path& folder) {
  const SafetensorsFile golden(folder / "golden.safetensors");
  const Json wanted = read_json(folder / "golden.json")["results"]["saelens.all_tokens"];
  ReconstructionSums sums;
  double kl_sae = 0, kl_zero = 0;
  for (const std::string batch : {"batch0.", "batch1."}) {
    const auto rows = [&](const char* name) {
      const Tensor t = golden.tensor(batch + name);
      return t.reshape({-1, t.size(-1)});
    };
    sums.add(rows("x"), rows("x_hat"));
    kl_sae += mean_kl(rows("logits_clean"), rows("logits_sae")) / 2;
    kl_zero += mean_kl(rows("logits_clean"), rows("logits_zero_ablated")) / 2;
  }
  SaeEvaluation e;
  e.kl_sae = kl_sae, e.kl_zero = kl_zero;
  const Json& d = wanted["downstream"];
  e.ce_clean = d["ce_loss_without_sae"], e.ce_sae = d["ce_loss_with_sae"], e.ce_zero = d["ce_loss_with_ablation"];
  account.near(sums.explained_variance(), wanted["activations"]["explained_variance"], 1e-4, "explained variance");
  account.near(kl_sae, d["kl_div_with_sae"], 1e-4, "KL with the SAE");
  account.near(kl_zero, d["kl_div_with_ablation"], 1e-4, "KL with zeros");
  account.near(e.kl_score(), d["kl_div_score"], 1e-4, "KL score");
  account.near(e.ce_recovered(), d["ce_loss_score"], 1e-4, "CE recovered");
}

}  // namespace

int golden::sae() {
  return run("sae", [](Account& account, const fs::path& folder) {
    const Json index = read_json(folder / "index.json")["saelens"];
    for (const auto& [name, about] : index.items()) {
      const fs::path place = folder / "saelens" / name;
      const auto architecture = about.at("architecture").get<std::string>();
      const bool training = about.at("kind").get<std::string>() == "training";
      const Json cfg = read_json(place / (training ? "inference" : "") / "cfg.json");
      if (architecture != "topk" && architecture != "standard" && architecture != "jumprelu") {
        account.not_run(name, "architecture " + architecture);
      } else if (cfg["normalize_activations"] != "none") {
        account.not_run(name, "normalises activations");
      } else if (!training) {
        account.run_case(name, [&] { check_sae_inference(account, place, SafetensorsFile(place / "golden.safetensors"), ""); });
      } else if (architecture == "topk") {
        account.run_case(name, [&] { check_sae_training(account, place, about); });
      } else {
        account.not_run(name, "trains another loss");
      }
    }
    account.run_case("metrics", [&] { check_sae_metrics(account, root() / "metrics"); });
  });
}

}  // namespace assay
