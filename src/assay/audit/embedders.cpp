#include "assay/audit/embedders.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "assay/base/error.h"
#include "assay/model/bert.h"
#include "assay/model/checkpoint.h"

namespace assay {
namespace {

std::vector<float> floats(const Tensor& rows) {
  const Tensor plain = rows.to(at::kFloat).contiguous();
  return {plain.const_data_ptr<float>(), plain.const_data_ptr<float>() + plain.numel()};
}

class SentenceEmbedder final : public Embedder {
 public:
  explicit SentenceEmbedder(const fs::path& folder) : encoder_(SentenceEncoder::from_folder(folder)), identity_(weights_sha256(folder)) {}
  [[nodiscard]] std::int64_t dimensions() const override { return encoder_.dimensions(); }
  [[nodiscard]] std::string identity() const override { return identity_; }
  [[nodiscard]] bool centred() const override { return false; }
  [[nodiscard]] std::vector<float> embed(std::span<const std::string> texts) const override { return floats(encoder_.embed(texts)); }

 private:
  SentenceEncoder encoder_;
  std::string identity_;
};

class HiddenStateEmbedder final : public Embedder {
 public:
  explicit HiddenStateEmbedder(const fs::path& model) : model_(load_language_model(model)), identity_(weights_sha256(model)) {}
  [[nodiscard]] std::int64_t dimensions() const override { return model_.transformer.config.d_model; }
  [[nodiscard]] std::string identity() const override { return identity_; }
  [[nodiscard]] bool centred() const override { return true; }
  [[nodiscard]] std::vector<float> embed(std::span<const std::string> texts) const override {
    const at::NoGradGuard no_gradients;
    const ModelConfig& config = model_.transformer.config;
    const std::int64_t half = std::max<std::int64_t>(1, config.n_layers / 2);
    TokenBatch batch;
    for (const std::string& text : texts) {
      std::vector<TokenId> ids = model_.tokenizer.encode(text, false);
      if (config.bos_id) ids.insert(ids.begin(), static_cast<TokenId>(*config.bos_id));
      if (ids.empty()) ids.push_back(static_cast<TokenId>(config.eos_ids.empty() ? 0 : config.eos_ids.front()));  // a text without tokens
      if (static_cast<std::int64_t>(ids.size()) > config.n_ctx) ids.resize(static_cast<std::size_t>(config.n_ctx));
      batch.add(ids);
    }
    const std::string place = "blocks." + std::to_string(half - 1) + ".hook_resid_post";
    Hooks hooks;
    hooks.read(place);
    (void)model_.transformer.forward(batch, {.precision = Precision::f32, .hooks = &hooks, .stop_at_layer = half});
    const Tensor& states = hooks.captured(place);  // [n_tokens, d_model]
    std::vector<Tensor> means;
    for (std::int64_t s = 0; s < batch.n_sequences(); ++s)
      means.push_back(states.slice(0, batch.offsets[static_cast<std::size_t>(s)], batch.offsets[static_cast<std::size_t>(s) + 1]).mean(0));
    return floats(at::stack(means));
  }

 private:
  LanguageModel model_;
  std::string identity_;
};

}  // namespace

std::unique_ptr<Embedder> make_embedder(const fs::path& model) {
  const fs::path config = model / "config.json";
  if (fs::exists(config) && value_or<std::string>(read_json(config), "model_type", "", config.string()) == "bert")
    return std::make_unique<SentenceEmbedder>(model);
  return std::make_unique<HiddenStateEmbedder>(model);
}

}  // namespace assay
