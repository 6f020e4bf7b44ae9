// Decoding on any device and dtype: Transformer::forward with an attention that reads the pages of a cache.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <map>

#include "assay/model/decoder_impl.h"
#include "assay/model/kernels/kernels.h"
#include "assay/model/ops.h"

namespace assay {
namespace {

constexpr std::int64_t kKeys = kernels::kPageKeys;

Tensor index_on(const std::vector<std::int64_t>& values, c10::Device device) { return at::tensor(values, at::kLong).to(device); }

/// Keys and values of each layer, [pages, kKeys, n_kv_heads, d_head]. What is asked for between two passes is done at once for all pages.
class TensorPages final : public PageStore {
 public:
  TensorPages(const ModelConfig& config, at::TensorOptions options)
      : shape_{0, kKeys, config.n_kv_heads, config.d_head}, options_(options), layers_(static_cast<std::size_t>(config.n_layers)) {}

  void clear(std::int32_t page) override {
    cleared_.push_back(page);
    pages_ = std::max<std::int64_t>(pages_, page + 1);
  }
  void copy(std::int32_t from, std::int32_t to) override {
    from_.push_back(from), to_.push_back(to);
    pages_ = std::max<std::int64_t>(pages_, to + 1);
  }

  struct Layer {
    Tensor k, v;
  };
  [[nodiscard]] Layer& layer(std::int64_t l) { return layers_[static_cast<std::size_t>(l)]; }

  /// Grows, clears and copies as asked since the last time.
  void settle() {
    if (pages_ > capacity_) {
      capacity_ = std::max(pages_, 2 * capacity_);
      auto shape = shape_;
      shape[0] = capacity_;
      each([&](Tensor& t) {
        const Tensor larger = at::zeros(shape, options_);
        if (t.defined()) larger.narrow(0, 0, t.size(0)).copy_(t);
        t = larger;
      });
    }
    if (!cleared_.empty()) each([index = index_on(cleared_, options_.device())](Tensor& t) { t.index_fill_(0, index, 0); });
    if (!from_.empty()) {
      const Tensor from = index_on(from_, options_.device()), to = index_on(to_, options_.device());
      each([&](Tensor& t) { t.index_copy_(0, to, t.index_select(0, from)); });
    }
    cleared_.clear(), from_.clear(), to_.clear();
  }

 private:
  template <class Do>
  void each(const Do& work) {
    for (Layer& l : layers_) work(l.k), work(l.v);
  }

  std::vector<std::int64_t> shape_;
  at::TensorOptions options_;
  std::vector<Layer> layers_;
  std::int64_t pages_ = 0, capacity_ = 0;
  std::vector<std::int64_t> cleared_, from_, to_;
};

/// Sequences of a pass that go through attention together, padded to the longest: those with one token, and the others.
struct Together {
  std::vector<std::int64_t> tokens;     // [sequences, rows]: which token of the pass; padding repeats a sequence's last
  std::vector<std::int64_t> positions;  // [sequences, rows]
  std::vector<std::int64_t> pages;      // [sequences, longest in pages]; what is beyond a sequence is masked
  std::vector<std::int64_t> kept, to;   // rows of the padded result that are tokens, and which
  std::int64_t sequences = 0, rows = 0, keys = 0;
};

class ComposedDecoder final : public DecoderImpl {
 public:
  ComposedDecoder(const Transformer& model, Precision p) : DecoderImpl(model.config, p), model_(model) {
    const c10::InferenceMode guard;
    operand_ = model.weights.W_E.scalar_type() == at::kFloat && p == Precision::bf16 ? at::kBFloat16 : model.weights.W_E.scalar_type();
    // Converted once; the products find nothing to convert.
    for (BlockWeights& b : model_.weights.blocks) {
      for (Tensor* w : {&b.W_Q, &b.W_K, &b.W_V, &b.W_O, &b.W_gate, &b.W_in, &b.W_out})
        if (w->defined()) *w = w->detach().to(operand_);
    }
    model_.weights.W_U = model_.weights.W_U.detach().to(operand_);
  }

  [[nodiscard]] std::unique_ptr<PageStore> new_store() const override {
    return std::make_unique<TensorPages>(config, model_.weights.W_E.options().dtype(operand_));
  }

  std::span<const float> run(std::span<const DecodeToken> tokens, std::span<const std::int64_t> wanted, KvCache& cache) override {
    const c10::InferenceMode guard;
    auto& pages = dynamic_cast<TensorPages&>(cache.store());
    pages.settle();
    TokenBatch batch;
    std::vector<std::int64_t> slots;  // of the pages' positions, laid end to end
    std::vector<std::int64_t> begins;
    for (std::size_t t = 0; t < tokens.size(); ++t) {
      const DecodeToken& token = tokens[t];
      if (t == 0 || tokens[t - 1].sequence != token.sequence) begins.push_back(static_cast<std::int64_t>(t));
      batch.ids.push_back(token.id);
      batch.positions.push_back(token.position);
      slots.push_back(cache.pages(token.sequence)[static_cast<std::size_t>(token.position / kKeys)] * kKeys + token.position % kKeys);
    }
    begins.push_back(static_cast<std::int64_t>(tokens.size()));
    batch.offsets = begins;
    const Tensor written = index_on(slots, device());
    std::vector<Group> groups;
    for (const bool one : {true, false})
      if (Together t = together(tokens, begins, cache, one); t.sequences > 0) groups.emplace_back(std::move(t), device());

    const Attend attend = [&](std::int64_t layer, const Tensor& q, const Tensor& k, const Tensor& v) {
      auto& of_layer = pages.layer(layer);
      of_layer.k.view({-1, config.n_kv_heads, config.d_head}).index_copy_(0, written, k.to(operand_));
      of_layer.v.view({-1, config.n_kv_heads, config.d_head}).index_copy_(0, written, v.to(operand_));
      const Tensor operand = q.to(operand_);
      if (groups.size() == 1 && groups[0].shape.rows == 1) return attention(layer, operand, of_layer, groups[0]).to(q.scalar_type());
      Tensor z = at::empty_like(operand);
      for (Group& group : groups) z.index_copy_(0, group.to, attention(layer, operand, of_layer, group));
      return z.to(q.scalar_type());
    };
    ForwardOptions options;
    options.precision = precision;
    options.attend = &attend;
    const Tensor hidden = model_.forward(batch, options);  // [n, d_model]
    if (wanted.empty()) return {};
    return to_host(hidden.index_select(0, index_on({wanted.begin(), wanted.end()}, device())), hidden_);
  }

  LogitRows logits(std::span<const float> hidden, std::int64_t n) override {
    const c10::InferenceMode guard;
    to_host(model_.logits(rows_of(hidden, n), precision), logits_);
    return {logits_.const_data_ptr<float>(), config.d_vocab, config.d_vocab};
  }

  void logprobs(std::span<const float> hidden, std::span<const std::int32_t> targets, float* out) override {
    const c10::InferenceMode guard;
    if (targets.empty()) return;
    Tensor host;
    const auto values = to_host(
        ops::token_logprobs(rows_of(hidden, static_cast<std::int64_t>(targets.size())), model_.weights.W_U, targets, precision), host);
    std::copy(values.begin(), values.end(), out);
  }

 private:
  /// A Together on the device, and its masks by window.
  struct Group {
    Group(Together t, c10::Device device)
        : shape(std::move(t)),
          tokens(index_on(shape.tokens, device)),
          positions(index_on(shape.positions, device).view({shape.sequences, shape.rows, 1})),
          pages(index_on(shape.pages, device)),
          kept(index_on(shape.kept, device)),
          to(index_on(shape.to, device)) {}
    Together shape;
    Tensor tokens, positions, pages, kept, to;
    std::map<std::int64_t, Tensor> masks;
  };

  [[nodiscard]] c10::Device device() const { return model_.device(); }

  std::span<const float> to_host(const Tensor& rows, Tensor& memory) const {
    memory = rows.to(at::kCPU, at::kFloat).contiguous();
    return {memory.const_data_ptr<float>(), static_cast<std::size_t>(memory.numel())};
  }
  [[nodiscard]] Tensor rows_of(std::span<const float> hidden, std::int64_t n) const {
    const Tensor host = at::from_blob(const_cast<float*>(hidden.data()), {n, config.d_model}, at::TensorOptions(at::kFloat));
    return host.to(model_.weights.W_E.options(), /*non_blocking=*/false, /*copy=*/true);
  }

  [[nodiscard]] static Together together(std::span<const DecodeToken> tokens, const std::vector<std::int64_t>& begins, const KvCache& cache,
                                         bool single) {
    Together t;
    std::vector<std::pair<std::int64_t, std::int64_t>> parts;
    std::int64_t most_pages = 0;
    for (std::size_t s = 0; s + 1 < begins.size(); ++s) {
      const auto rows = begins[s + 1] - begins[s];
      if ((rows == 1) != single) continue;
      parts.emplace_back(begins[s], rows);
      t.rows = std::max(t.rows, rows);
      const auto last = static_cast<std::size_t>(begins[s + 1] - 1);
      most_pages = std::max<std::int64_t>(most_pages, tokens[last].position / kKeys + 1);
    }
    t.sequences = static_cast<std::int64_t>(parts.size());
    t.keys = most_pages * kKeys;
    for (const auto& [begin, rows] : parts) {
      for (std::int64_t r = 0; r < t.rows; ++r) {
        const auto token = begin + std::min(r, rows - 1);
        if (r < rows) t.kept.push_back(static_cast<std::int64_t>(t.tokens.size())), t.to.push_back(token);
        t.tokens.push_back(token);
        t.positions.push_back(tokens[static_cast<std::size_t>(token)].position);
      }
      const auto held = cache.pages(tokens[static_cast<std::size_t>(begin)].sequence);
      for (std::int64_t p = 0; p < most_pages; ++p)
        t.pages.push_back(held[static_cast<std::size_t>(std::min<std::int64_t>(p, static_cast<std::int64_t>(held.size()) - 1))]);
    }
    return t;
  }

  /// q [n, n_heads, d_head] of the whole pass -> z [tokens of the group, n_heads, d_head]. Heads that share keys become rows of one
  /// product, so that no kernel has to know about groups.
  [[nodiscard]] Tensor attention(std::int64_t layer, const Tensor& q, const TensorPages::Layer& cached, Group& group) const {
    const auto S = group.shape.sequences, R = group.shape.rows, L = group.shape.keys;
    const auto G = config.n_kv_heads, D = config.d_head, shared = config.n_heads / G;
    const auto keys = [&](const Tensor& t) {  // [pages, kKeys, G, D] -> [S, G, L, D]
      return t.index_select(0, group.pages).view({S, L, G, D}).transpose(1, 2);
    };
    const Tensor rows = q.index_select(0, group.tokens).view({S, R, G, shared, D}).permute({0, 2, 3, 1, 4}).reshape({S, G, shared * R, D});
    Tensor& mask = group.masks[config.window(layer)];
    if (!mask.defined()) {
      const Tensor key = at::arange(L, group.positions.options());  // [L]
      mask = key <= group.positions;                                // [S, R, L]
      if (const auto window = config.window(layer); window > 0) mask = mask & (key > group.positions - window);
      mask = mask.unsqueeze(1).expand({S, shared, R, L}).reshape({S, 1, shared * R, L}).expand({S, G, shared * R, L});
    }
    return at::scaled_dot_product_attention(rows, keys(cached.k), keys(cached.v), mask, 0.0, /*is_causal=*/false, config.score_scale())
        .view({S, G, shared, R, D})
        .permute({0, 3, 1, 2, 4})  // [S, R, G, shared, D]
        .reshape({S * R, config.n_heads, D})
        .index_select(0, group.kept);
  }

  Transformer model_;  // the matrices in the precision of the products
  at::ScalarType operand_;
  Tensor hidden_, logits_;  // what was given out last
};

}  // namespace

std::unique_ptr<DecoderImpl> composed_decoder(const Transformer& model, Precision precision) {
  return std::make_unique<ComposedDecoder>(model, precision);
}

}  // namespace assay
