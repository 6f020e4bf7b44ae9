#include "assay/audit/techniques/latents.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "assay/sae/evaluate.h"

namespace assay {
namespace {

constexpr std::int64_t kPass = 8192;  // tokens of one activation pass
constexpr std::int64_t kAround = 7;   // tokens of a snippet on either side
constexpr std::size_t kShownLabels = 3;

Access::Weights& weights_of(Access& access) {
  if (Access::Weights* weights = access.weights()) return *weights;
  throw Error("audit latents", "this access has no right to the weights");
}

/// Calls each(first, batch, activations) for batches of neighbouring sequences.
template <class Each>
void in_passes(Access::Weights& weights, const std::vector<std::vector<TokenId>>& sequences, const std::string& hook, const Each& each) {
  for (std::size_t s = 0; s < sequences.size();) {
    const std::size_t first = s;
    TokenBatch batch;
    for (; s < sequences.size() && (batch.n_tokens() == 0 || batch.n_tokens() + static_cast<std::int64_t>(sequences[s].size()) <= kPass);
         ++s)
      batch.add(sequences[s]);
    each(first, batch, weights.activations(batch, hook));
  }
}

/// Activations that were paid for once, kept for all epochs.
class KeptActivations final : public ActivationSource {
 public:
  void add(Tensor rows) {
    if (rows.size(0) > 0) chunks_.push_back(std::move(rows));
  }
  [[nodiscard]] std::int64_t chunks() const override { return static_cast<std::int64_t>(chunks_.size()); }
  [[nodiscard]] std::int64_t rows(std::int64_t c) const override { return chunks_[static_cast<std::size_t>(c)].size(0); }
  [[nodiscard]] Tensor chunk(std::int64_t c) override { return chunks_[static_cast<std::size_t>(c)]; }

 private:
  std::vector<Tensor> chunks_;
};

/// The most active token of each latent in rows [begin, end) of the codes, the strongest latent first. Positions count from `begin`.
std::vector<LabelledLatents::Active> strongest(const LatentCodes& codes, std::int64_t begin, std::int64_t end) {
  std::map<std::int32_t, LabelledLatents::Active> best;
  for (std::int64_t r = begin; r < end; ++r)
    for (auto s = codes.offsets[static_cast<std::size_t>(r)]; s < codes.offsets[static_cast<std::size_t>(r) + 1]; ++s) {
      const std::int32_t latent = codes.latents[static_cast<std::size_t>(s)];
      const double value = codes.values[static_cast<std::size_t>(s)];
      auto [it, is_new] = best.try_emplace(latent, LabelledLatents::Active{latent, r - begin, value});
      if (value > it->second.value) it->second = {latent, r - begin, value};
    }
  std::vector<LabelledLatents::Active> out;
  for (const auto& [latent, active] : best) out.push_back(active);
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.value > b.value; });
  return out;
}

/// Texts cut to the context, and left out where they have nothing behind the first token.
void fit(std::vector<LatentText>& texts, std::int64_t n_ctx) {
  for (LatentText& text : texts)
    if (static_cast<std::int64_t>(text.ids.size()) > n_ctx) text.ids.resize(static_cast<std::size_t>(n_ctx));
  std::erase_if(texts, [](const LatentText& text) { return text.ids.size() < 2; });
}

class AccessEmbedder final : public Embedder {
 public:
  explicit AccessEmbedder(Access& access) : access_(access) {}
  [[nodiscard]] std::int64_t dimensions() const override { return static_cast<std::int64_t>(embed(std::vector<std::string>{"a"}).size()); }
  [[nodiscard]] std::string identity() const override { return access_.identity(); }
  [[nodiscard]] bool centred() const override { return true; }
  [[nodiscard]] std::vector<float> embed(std::span<const std::string> texts) const override {
    Access::Weights& weights = weights_of(access_);
    std::vector<std::vector<TokenId>> sequences;
    for (const std::string& text : texts) {
      sequences.push_back(weights.ids(text));
      if (static_cast<std::int64_t>(sequences.back().size()) > weights.n_ctx())
        sequences.back().resize(static_cast<std::size_t>(weights.n_ctx()));
    }
    std::vector<float> out;
    in_passes(weights, sequences, middle_hook(weights.n_layers()), [&](std::size_t, const TokenBatch& batch, const Tensor& rows) {
      for (std::size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
        const Tensor mean = rows.slice(0, batch.offsets[s], batch.offsets[s + 1]).mean(0).contiguous();
        out.insert(out.end(), mean.const_data_ptr<float>(), mean.const_data_ptr<float>() + mean.numel());
      }
    });
    return out;
  }

 private:
  Access& access_;
};

}  // namespace

LabelledLatents LabelledLatents::learn(Access& access, std::vector<LatentText> texts, const LatentOptions& options,
                                       const std::optional<std::filesystem::path>& checkpoint, Progress& progress) {
  Access::Weights& weights = weights_of(access);
  fit(texts, weights.n_ctx());
  const std::string hook = options.hook.empty() ? middle_hook(weights.n_layers()) : options.hook;
  std::vector<std::vector<TokenId>> mix;
  for (const LatentText& text : texts)
    if (text.trains) mix.push_back(text.ids);
  Rng(options.train.seed).fork("mix").shuffle(std::span(mix));
  std::int64_t tokens = 0;
  for (std::size_t i = 0; i < mix.size(); ++i)
    if ((tokens += static_cast<std::int64_t>(mix[i].size())) > options.max_tokens) {
      mix.resize(std::max<std::size_t>(1, i));
      break;
    }
  if (mix.empty()) throw Error("audit latents", "there is no text for the SAE");
  KeptActivations source;
  in_passes(weights, mix, hook, [&](std::size_t, const TokenBatch& batch, const Tensor& rows) { source.add(without_first(rows, batch)); });
  const Json identity = {{"target", access.identity()}, {"hook", hook}, {"texts", mix.size()}, {"tokens", tokens}};
  SaeTraining trained = train_sae(source, options.train, identity, checkpoint, progress);
  trained.sae.config.hook_name = hook;
  return label(access, std::move(trained.sae), std::move(texts), options, progress);
}

LabelledLatents LabelledLatents::label(Access& access, Sae sae, std::vector<LatentText> texts, const LatentOptions& options,
                                       Progress& progress) {
  Access::Weights& weights = weights_of(access);
  LabelledLatents out;
  out.hook_ = !options.hook.empty() ? options.hook : sae.config.hook_name;
  if (out.hook_.empty()) throw Error("audit latents", "the SAE names no hook point", "give --hook, such as blocks.1.hook_resid_post");
  std::erase_if(texts, [](const LatentText& text) { return !text.labels; });
  fit(texts, weights.n_ctx());
  out.sae_ = std::move(sae);
  out.texts_ = std::move(texts);
  out.labels_.resize(static_cast<std::size_t>(out.sae_.config.d_sae));
  out.by_text_.resize(out.texts_.size());
  std::vector<std::vector<TokenId>> sequences;
  for (const LatentText& text : out.texts_) sequences.push_back(text.ids);
  ReconstructionSums sums;
  const auto weaker = [](const Label& a, const Label& b) { return a.value > b.value || (a.value == b.value && a.text < b.text); };
  progress.begin("labels", static_cast<std::int64_t>(sequences.size()), "texts");
  in_passes(weights, sequences, out.hook_, [&](std::size_t first, const TokenBatch& batch, const Tensor& rows) {
    if (progress.stop_requested()) throw Interrupted("audit latents");
    const LatentCodes codes = out.sae_.encode(rows);
    sums.add(without_first(rows, batch), without_first(out.sae_.decode(codes), batch));
    for (std::size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
      // The first position was in no training batch.
      auto active = strongest(codes, batch.offsets[s] + 1, batch.offsets[s + 1]);
      for (Active& a : active) {
        ++a.position;
        auto& best = out.labels_[static_cast<std::size_t>(a.latent)];
        best.push_back({first + s, a.position, a.value});
        std::push_heap(best.begin(), best.end(), weaker);
        if (best.size() > options.top) {
          std::pop_heap(best.begin(), best.end(), weaker);
          best.pop_back();
        }
      }
      out.by_text_[first + s] = std::move(active);
    }
    progress.update(static_cast<std::int64_t>(first) + batch.n_sequences());
  });
  progress.end();
  for (auto& best : out.labels_) std::sort_heap(best.begin(), best.end(), weaker);
  if (!sequences.empty()) out.explained_variance_ = sums.explained_variance();
  return out;
}

std::string LabelledLatents::snippet(const Access::Weights& weights, const Label& label) const {
  const std::vector<TokenId>& ids = texts_[label.text].ids;
  const auto at = static_cast<std::size_t>(label.position);
  const std::size_t begin = at > kAround ? at - kAround : 0, end = std::min(ids.size(), at + 1 + kAround);
  const std::span<const TokenId> all(ids);
  const std::string before = weights.text(all.subspan(begin, at - begin)), here = weights.text(all.subspan(at, 1)),
                    after = weights.text(all.subspan(at + 1, end - at - 1));
  return (begin > 0 ? "... " : "") + before + " [" + here + "] " + after + (end < ids.size() ? " ..." : "");
}

std::vector<std::vector<LabelledLatents::Active>> LabelledLatents::active(Access& access, const std::vector<std::vector<TokenId>>& prompts,
                                                                          bool last_only) const {
  std::vector<std::vector<Active>> out(prompts.size());
  in_passes(weights_of(access), prompts, hook_, [&](std::size_t first, const TokenBatch& batch, const Tensor& rows) {
    const LatentCodes codes = sae_.encode(rows);
    for (std::size_t s = 0; s + 1 < batch.offsets.size(); ++s) {
      const std::int64_t end = batch.offsets[s + 1];
      const std::int64_t begin = last_only ? end - 1 : std::min(batch.offsets[s] + 1, end - 1);
      out[first + s] = strongest(codes, begin, end);
      for (Active& a : out[first + s]) a.position += begin - batch.offsets[s];
    }
  });
  return out;
}

std::vector<LatentText> latent_texts(Access& access, Access::Corpus& corpus, const std::string& name, std::int64_t n, Rng rng) {
  const Access::Weights& weights = weights_of(access);
  std::vector<LatentText> out;
  for (const IndexedText& text : corpus.random(n, rng)) out.push_back({weights.ids(text.text), name + ":" + text.where});
  return out;
}

std::unique_ptr<Embedder> access_embedder(Access& access) { return std::make_unique<AccessEmbedder>(access); }

std::vector<std::pair<std::int32_t, double>> search_latents(Access& access, const LabelledLatents& latents, const Embedder& embedder,
                                                            const std::string& query, std::size_t limit) {
  const Access::Weights& weights = weights_of(access);
  std::vector<std::int32_t> labelled;
  std::vector<std::string> texts;
  for (std::int32_t j = 0; j < static_cast<std::int32_t>(latents.sae().config.d_sae); ++j) {
    if (latents.labels(j).empty()) continue;
    std::string text;
    for (std::size_t i = 0; i < std::min(kShownLabels, latents.labels(j).size()); ++i)
      text += (i ? "\n" : "") + latents.snippet(weights, latents.labels(j)[i]);
    labelled.push_back(j);
    texts.push_back(std::move(text));
  }
  if (texts.empty()) return {};
  texts.push_back(query);
  const std::vector<float> points = embedder.embed(texts);
  const auto n = static_cast<std::int64_t>(texts.size()), d = static_cast<std::int64_t>(points.size()) / n;
  Tensor rows = at::empty({n, d}, at::kFloat);
  std::copy(points.begin(), points.end(), rows.data_ptr<float>());
  if (embedder.centred()) rows = rows - rows.slice(0, 0, n - 1).mean(0);
  rows = rows / rows.norm(2, 1, /*keepdim=*/true).clamp_min(1e-12);
  const Tensor cosines = at::mv(rows.slice(0, 0, n - 1), rows[n - 1]).contiguous();
  std::vector<std::pair<std::int32_t, double>> out;
  for (std::size_t i = 0; i < labelled.size(); ++i) out.emplace_back(labelled[i], cosines.const_data_ptr<float>()[i]);
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  if (out.size() > limit) out.resize(limit);
  return out;
}

std::vector<Evidence> latent_evidence(Access& access, const LabelledLatents& latents, const std::vector<Conversation>& prompts, Turn turn,
                                      bool last_only, std::size_t limit, std::uint64_t seed) {
  const Access::Weights& weights = weights_of(access);
  std::vector<std::vector<TokenId>> sequences;
  for (const Conversation& messages : prompts) sequences.push_back(weights.ids(messages, turn));
  const auto found = latents.active(access, sequences, last_only);
  std::vector<Evidence> out;
  for (std::size_t p = 0; p < prompts.size(); ++p)
    for (std::size_t i = 0; i < std::min(limit, found[p].size()); ++i) {
      const LabelledLatents::Active& a = found[p][i];
      const auto& labels = latents.labels(a.latent);
      std::string shown;
      for (std::size_t l = 0; l < std::min(kShownLabels, labels.size()); ++l)
        shown += (l ? "\n" : "") + latents.snippet(weights, labels[l]);
      const ProbePrompt probe{"latents", prompts[p], turn};
      out.push_back({"latents",
                     probe.prompt(),
                     probe.prefill(),
                     shown,
                     a.value,
                     seed,
                     out.size(),
                     "latent " + std::to_string(a.latent) + " at '" +
                         weights.text(std::span<const TokenId>(sequences[p]).subspan(static_cast<std::size_t>(a.position), 1)) + "' (" +
                         std::to_string(a.position) + ")" + (labels.empty() ? "" : ", " + latents.texts()[labels.front().text].where),
                     to_json(prompts[p]),
                     {{"target", access.identity()}, {"hook", latents.hook()}}});
    }
  return out;
}

}  // namespace assay
