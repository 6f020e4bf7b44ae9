#include "assay/sae/evaluate.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

namespace assay {
namespace {

constexpr std::int64_t kEvaluateTokens = 1024;  // whose logits are held at a time, three times

}  // namespace

void ReconstructionSums::add(const Tensor& x, const Tensor& x_hat) {
  const Tensor rows = x.to(at::kDouble);
  error_ += (rows - x_hat.to(at::kDouble)).square().sum().item<double>();
  squares_ += rows.square().sum().item<double>();
  sum_ = sum_.defined() ? sum_ + rows.sum(0) : rows.sum(0);
  n_ += x.size(0);
}

double ReconstructionSums::explained_variance() const {
  const double mean_part = sum_.square().sum().item<double>() / static_cast<double>(n_);
  return 1 - error_ / (squares_ - mean_part);
}

double mean_kl(const Tensor& a, const Tensor& b) {
  const Tensor p = a.to(at::kFloat).log_softmax(-1), q = b.to(at::kFloat).log_softmax(-1);
  return (p.exp() * (p - q)).sum(-1).mean().item<double>();
}

Json to_json(const SaeEvaluation& e) {
  return {{"tokens", e.tokens},
          {"l0", e.l0},
          {"explained_variance", e.explained_variance},
          {"fvu", 1 - e.explained_variance},
          {"dead", e.dead},
          {"ce_clean", e.ce_clean},
          {"ce_sae", e.ce_sae},
          {"ce_zero", e.ce_zero},
          {"ce_recovered", e.ce_recovered()},
          {"kl_sae", e.kl_sae},
          {"kl_zero", e.kl_zero},
          {"kl_score", e.kl_score()}};
}

SaeEvaluation evaluate_sae(const Sae& sae, const Transformer& model, const std::vector<std::vector<TokenId>>& sequences,
                           const std::string& hook, std::int64_t max_tokens, Precision precision, Progress& progress) {
  const c10::InferenceMode no_gradients;
  SaeEvaluation out;
  ReconstructionSums sums;
  std::vector<std::uint8_t> fired(static_cast<std::size_t>(sae.config.d_sae));
  double active = 0, predicted = 0;
  progress.begin("sae eval", static_cast<std::int64_t>(sequences.size()), "sequences");
  for (std::size_t s = 0; s < sequences.size() && (max_tokens == 0 || out.tokens < max_tokens);) {
    if (progress.stop_requested()) throw Interrupted("sae eval");
    TokenBatch batch;
    for (; s < sequences.size() && batch.n_tokens() < kEvaluateTokens; ++s)
      if (sequences[s].size() >= 2) batch.add(sequences[s]);
    if (batch.n_tokens() == 0) continue;
    std::vector<std::int64_t> predicting;
    std::vector<std::int64_t> targets;
    std::vector<float> is_first;
    for (std::int64_t t = 0; t < batch.n_tokens(); ++t) {
      is_first.push_back(batch.positions[static_cast<std::size_t>(t)] == 0 ? 1.0F : 0.0F);
      if (t + 1 < batch.n_tokens() && batch.positions[static_cast<std::size_t>(t) + 1] > 0) {
        predicting.push_back(t);
        targets.push_back(batch.ids[static_cast<std::size_t>(t) + 1]);
      }
    }
    const Tensor where = at::tensor(predicting, at::kLong), next = at::tensor(targets, at::kLong);
    const Tensor first = at::tensor(is_first, at::kFloat).unsqueeze(1);
    const auto logits_with = [&](const Hooks::Replace& replace) {
      Hooks hooks;
      if (replace) hooks.replace(hook, replace);
      const Tensor hidden = model.forward(batch, {.precision = precision, .hooks = replace ? &hooks : nullptr});
      return model.logits(hidden.index_select(0, where), precision);
    };
    const auto instead = [&](const Tensor& value, const Tensor& rows) {
      const Tensor flat = value.reshape({batch.n_tokens(), -1});
      return (flat * first + rows.to(flat.dtype()) * (1 - first)).reshape(value.sizes());
    };
    const Tensor clean = logits_with({});
    const Tensor with_sae = logits_with([&](const Tensor& value) {
      const Tensor x = value.reshape({batch.n_tokens(), -1}).to(at::kFloat);
      const Tensor rows = without_first(x, batch);
      const LatentCodes codes = sae.encode(rows);
      sums.add(rows, sae.decode(codes));
      active += static_cast<double>(codes.latents.size());
      for (const std::int32_t j : codes.latents) fired[static_cast<std::size_t>(j)] = 1;
      return instead(value, sae.reconstruct(x));
    });
    const Tensor with_zeros = logits_with([&](const Tensor& value) { return instead(value, at::zeros({batch.n_tokens(), 1})); });
    const auto n = static_cast<double>(predicting.size());
    const auto cross_entropy = [&](const Tensor& logits) {
      return n * at::nll_loss(logits.to(at::kFloat).log_softmax(-1), next).item<double>();
    };
    out.ce_clean += cross_entropy(clean);
    out.ce_sae += cross_entropy(with_sae);
    out.ce_zero += cross_entropy(with_zeros);
    out.kl_sae += n * mean_kl(clean, with_sae);
    out.kl_zero += n * mean_kl(clean, with_zeros);
    predicted += n;
    out.tokens += batch.n_tokens() - batch.n_sequences();
    progress.update(static_cast<std::int64_t>(s));
  }
  progress.end();
  if (out.tokens == 0) throw Error("sae eval", "there is no text of two tokens or more");
  for (double* sum : {&out.ce_clean, &out.ce_sae, &out.ce_zero, &out.kl_sae, &out.kl_zero}) *sum /= predicted;
  out.l0 = active / static_cast<double>(out.tokens);
  out.explained_variance = sums.explained_variance();
  out.dead = static_cast<double>(std::count(fired.begin(), fired.end(), 0)) / static_cast<double>(fired.size());
  return out;
}

}  // namespace assay
