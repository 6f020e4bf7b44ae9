#include "assay/model/decoder.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linear.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "assay/base/error.h"
#include "assay/model/ops.h"

namespace assay {
namespace {

using v8 = float __attribute__((vector_size(32), aligned(4)));

float dot(const float* a, const float* b, std::int64_t n) {
  v8 sum{};
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) sum += *reinterpret_cast<const v8*>(a + i) * *reinterpret_cast<const v8*>(b + i);
  float out = 0;
  for (int lane = 0; lane < 8; ++lane) out += sum[lane];
  for (; i < n; ++i) out += a[i] * b[i];
  return out;
}

void add_scaled(float* y, float scale, const float* x, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) *reinterpret_cast<v8*>(y + i) += scale * *reinterpret_cast<const v8*>(x + i);
  for (; i < n; ++i) y[i] += scale * x[i];
}

void rms_norm_row(const float* x, const float* w, float eps, std::int64_t d, float* out) {
  const float scale = 1.0F / std::sqrt(dot(x, x, d) / static_cast<float>(d) + eps);
  for (std::int64_t i = 0; i < d; ++i) out[i] = x[i] * scale * w[i];
}

void layer_norm_row(const float* x, const float* w, const float* b, float eps, std::int64_t d, float* out) {
  float mean = 0;
  for (std::int64_t i = 0; i < d; ++i) mean += x[i];
  mean /= static_cast<float>(d);
  float variance = 0;
  for (std::int64_t i = 0; i < d; ++i) variance += (x[i] - mean) * (x[i] - mean);
  const float scale = 1.0F / std::sqrt(variance / static_cast<float>(d) + eps);
  for (std::int64_t i = 0; i < d; ++i) out[i] = (x[i] - mean) * scale * w[i] + (b ? b[i] : 0.0F);
}

float activate(float x, Activation activation) {
  switch (activation) {
    case Activation::silu: return x / (1.0F + std::exp(-x));
    case Activation::gelu: return 0.5F * x * (1.0F + std::erf(x * 0.70710678F));
    case Activation::gelu_tanh: return 0.5F * x * (1.0F + std::tanh(0.79788456F * (x + 0.044715F * x * x * x)));
    case Activation::relu: return x > 0 ? x : 0;
  }
  return x;
}

/// Half-split rotation of one head in place. cos and sin have rotated/2 entries.
void rotate(float* x, const float* cos, const float* sin, std::int64_t half) {
  for (std::int64_t i = 0; i < half; ++i) {
    const float a = x[i], b = x[i + half];
    x[i] = a * cos[i] - b * sin[i];
    x[i + half] = b * cos[i] + a * sin[i];
  }
}

struct PackedLinear {
  Tensor w, b;  // in the compute dtype; several matrices of one input stand below each other
};

struct PackedBlock {
  Tensor ln1_w, ln1_b, ln2_w, ln2_b;  // f32
  PackedLinear qkv, o, up, down;
};

}  // namespace

KvCache::KvCache(const ModelConfig& config, std::int64_t rows, std::int64_t n_ctx)
    : n_layers_(config.n_layers), rows_(rows), n_ctx_(n_ctx), width_(config.n_kv_heads * config.d_head) {
  const auto size = static_cast<std::size_t>(n_layers_ * rows_ * n_ctx_ * width_);
  keys_.resize(size);
  values_.resize(size);
}

void KvCache::copy_prefix(std::int64_t from, std::int64_t to, std::int64_t n) {
  const auto bytes = static_cast<std::size_t>(n * width_) * sizeof(float);
  for (std::int64_t layer = 0; layer < n_layers_; ++layer) {
    std::memcpy(keys(layer, to), keys(layer, from), bytes);
    std::memcpy(values(layer, to), values(layer, from), bytes);
  }
}

struct Decoder::Impl {
  ModelConfig config;
  c10::ScalarType type;
  Tensor embedding, positions, ln_final_w, ln_final_b, head;
  std::vector<PackedBlock> blocks;
  ops::RopeTable rope;
  std::vector<float> x, normed, post, z, out;
  Tensor logits;

  /// input [n, in] f32 -> [n, out] f32.
  [[nodiscard]] Tensor linear(const std::vector<float>& input, std::int64_t n, const PackedLinear& layer) const {
    const Tensor in = at::from_blob(const_cast<float*>(input.data()), {n, layer.w.size(1)}, at::TensorOptions(c10::kFloat));
    return at::linear(in.to(type), layer.w, layer.b.defined() ? std::optional<Tensor>(layer.b) : std::nullopt).to(c10::kFloat);
  }
  void norm(const Tensor& w, const Tensor& b, const float* in, std::int64_t n, float* to) const {
    const std::int64_t d = config.d_model;
    for (std::int64_t i = 0; i < n; ++i) {
      if (config.norm == Norm::rms) rms_norm_row(in + i * d, w.data_ptr<float>(), static_cast<float>(config.norm_eps), d, to + i * d);
      else layer_norm_row(in + i * d, w.data_ptr<float>(), b.defined() ? b.data_ptr<float>() : nullptr, static_cast<float>(config.norm_eps), d, to + i * d);
    }
  }
  void attend(const float* qkv, std::span<const DecodeToken> tokens, std::int64_t layer, KvCache& cache);
};

/// qkv [n, (heads + 2 kv) d_head] -> z [n, heads d_head]. Keys and values of all tokens go into the cache first, so that tokens of one row see each other.
void Decoder::Impl::attend(const float* qkv, std::span<const DecodeToken> tokens, std::int64_t layer, KvCache& cache) {
  const std::int64_t H = config.n_heads, G = config.n_kv_heads, D = config.d_head, width = (H + 2 * G) * D, group = H / G;
  const std::int64_t half = config.positions == Positions::rope ? rope.cos.size(1) : 0;
  const auto n = static_cast<std::int64_t>(tokens.size());
  std::vector<float> queries(static_cast<std::size_t>(n * H * D));
  for (std::int64_t t = 0; t < n; ++t) {
    const DecodeToken& token = tokens[static_cast<std::size_t>(t)];
    const float* in = qkv + t * width;
    float* q = queries.data() + t * H * D;
    float* k = cache.keys(layer, token.row) + token.position * G * D;
    std::memcpy(q, in, static_cast<std::size_t>(H * D) * sizeof(float));
    std::memcpy(k, in + H * D, static_cast<std::size_t>(G * D) * sizeof(float));
    std::memcpy(cache.values(layer, token.row) + token.position * G * D, in + (H + G) * D, static_cast<std::size_t>(G * D) * sizeof(float));
    if (half == 0) continue;
    const float* cos = rope.cos.data_ptr<float>() + token.position * half;
    const float* sin = rope.sin.data_ptr<float>() + token.position * half;
    for (std::int64_t h = 0; h < H; ++h) rotate(q + h * D, cos, sin, half);
    for (std::int64_t g = 0; g < G; ++g) rotate(k + g * D, cos, sin, half);
  }
  const float scale = 1.0F / std::sqrt(static_cast<float>(D));
  at::parallel_for(0, n, std::max<std::int64_t>(1, 4096 / std::max<std::int64_t>(1, H * D)), [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> scores;
    for (std::int64_t t = begin; t < end; ++t) {
      const DecodeToken& token = tokens[static_cast<std::size_t>(t)];
      const std::int64_t seen = token.position + 1;
      scores.resize(static_cast<std::size_t>(seen));
      const float* keys = cache.keys(layer, token.row);
      const float* values = cache.values(layer, token.row);
      for (std::int64_t h = 0; h < H; ++h) {
        const float* q = queries.data() + (t * H + h) * D;
        const std::int64_t at = (h / group) * D;
        float top = -INFINITY;
        for (std::int64_t p = 0; p < seen; ++p) top = std::max(top, scores[static_cast<std::size_t>(p)] = scale * dot(q, keys + p * G * D + at, D));
        float total = 0;
        for (float& s : scores) total += s = std::exp(s - top);
        float* out_row = z.data() + (t * H + h) * D;
        std::fill_n(out_row, D, 0.0F);
        for (std::int64_t p = 0; p < seen; ++p) add_scaled(out_row, scores[static_cast<std::size_t>(p)] / total, values + p * G * D + at, D);
      }
    }
  });
}

Decoder::Decoder(const Transformer& model, Precision precision) : impl_(std::make_unique<Impl>()) {
  const c10::InferenceMode no_gradients;
  Impl& m = *impl_;
  m.config = model.config;
  m.type = precision == Precision::bf16 ? c10::kBFloat16 : c10::kFloat;
  const auto f32 = [](const Tensor& t) { return t.defined() ? t.detach().to(c10::kFloat).contiguous() : t; };
  const auto packed = [&](std::initializer_list<Tensor> w, std::initializer_list<Tensor> b) {
    PackedLinear out{at::cat(std::vector<Tensor>(w)).detach().to(m.type).contiguous(), {}};
    if (b.begin()->defined()) out.b = at::cat(std::vector<Tensor>(b)).detach().to(m.type).contiguous();
    return out;
  };
  const Weights& w = model.weights;
  m.embedding = f32(w.W_E);
  m.positions = f32(w.W_pos);
  m.ln_final_w = f32(w.ln_final_w);
  m.ln_final_b = f32(w.ln_final_b);
  m.head = w.W_U.detach().to(m.type).contiguous();
  for (const BlockWeights& b : w.blocks) {
    PackedBlock block{f32(b.ln1_w), f32(b.ln1_b), f32(b.ln2_w), f32(b.ln2_b), packed({b.W_Q, b.W_K, b.W_V}, {b.b_Q, b.b_K, b.b_V}), packed({b.W_O}, {b.b_O}), {}, packed({b.W_out}, {b.b_out})};
    block.up = model.config.gated_mlp ? packed({b.W_gate, b.W_in}, {Tensor()}) : packed({b.W_in}, {b.b_in});
    m.blocks.push_back(std::move(block));
  }
  if (m.config.positions == Positions::rope) {
    m.rope = ops::rope_table(m.config, m.config.n_ctx);
    m.rope.cos = f32(m.rope.cos);
    m.rope.sin = f32(m.rope.sin);
  }
}

Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
const ModelConfig& Decoder::config() const { return impl_->config; }

std::span<const float> Decoder::run(std::span<const DecodeToken> tokens, std::span<const std::int64_t> wanted, KvCache& cache) {
  const c10::InferenceMode no_gradients;
  Impl& m = *impl_;
  const ModelConfig& c = m.config;
  const auto n = static_cast<std::int64_t>(tokens.size());
  const std::int64_t d = c.d_model, up_width = c.gated_mlp ? 2 * c.d_mlp : c.d_mlp;
  m.x.resize(static_cast<std::size_t>(n * d));
  m.normed.resize(m.x.size());
  m.z.resize(static_cast<std::size_t>(n * c.n_heads * c.d_head));
  m.post.resize(static_cast<std::size_t>(n * c.d_mlp));
  for (std::int64_t t = 0; t < n; ++t) {
    const DecodeToken& token = tokens[static_cast<std::size_t>(t)];
    if (token.id < 0 || token.id >= c.d_vocab) throw Error("generate", "token id " + std::to_string(token.id) + " is outside the vocabulary of " + std::to_string(c.d_vocab));
    if (token.position < 0 || token.position >= cache.n_ctx() || token.position >= c.n_ctx)
      throw Error("generate", "position " + std::to_string(token.position) + " is beyond the context of " + std::to_string(std::min(c.n_ctx, cache.n_ctx())));
    std::memcpy(m.x.data() + t * d, m.embedding.data_ptr<float>() + token.id * d, static_cast<std::size_t>(d) * sizeof(float));
    if (c.positions == Positions::learned) add_scaled(m.x.data() + t * d, 1.0F, m.positions.data_ptr<float>() + token.position * d, d);
  }
  for (std::int64_t layer = 0; layer < c.n_layers; ++layer) {
    const PackedBlock& block = m.blocks[static_cast<std::size_t>(layer)];
    m.norm(block.ln1_w, block.ln1_b, m.x.data(), n, m.normed.data());
    const Tensor qkv = m.linear(m.normed, n, block.qkv);  // [n, (heads + 2 kv) d_head]
    m.attend(qkv.data_ptr<float>(), tokens, layer, cache);
    const Tensor attn_out = m.linear(m.z, n, block.o);  // [n, d_model]
    add_scaled(m.x.data(), 1.0F, attn_out.data_ptr<float>(), n * d);
    m.norm(block.ln2_w, block.ln2_b, m.x.data(), n, m.normed.data());
    const Tensor up = m.linear(m.normed, n, block.up);  // [n, d_mlp] or gate and up side by side
    const float* u = up.data_ptr<float>();
    for (std::int64_t t = 0; t < n; ++t)
      for (std::int64_t i = 0; i < c.d_mlp; ++i) {
        const float gate = u[t * up_width + i];
        m.post[static_cast<std::size_t>(t * c.d_mlp + i)] = activate(gate, c.activation) * (c.gated_mlp ? u[t * up_width + c.d_mlp + i] : 1.0F);
      }
    const Tensor mlp_out = m.linear(m.post, n, block.down);
    add_scaled(m.x.data(), 1.0F, mlp_out.data_ptr<float>(), n * d);
  }
  m.out.resize(wanted.size() * static_cast<std::size_t>(d));
  for (std::size_t i = 0; i < wanted.size(); ++i) m.norm(m.ln_final_w, m.ln_final_b, m.x.data() + wanted[i] * d, 1, m.out.data() + static_cast<std::int64_t>(i) * d);
  return m.out;
}

std::span<const float> Decoder::logits(std::span<const float> hidden, std::int64_t n) {
  const c10::InferenceMode no_gradients;
  Impl& m = *impl_;
  assert(static_cast<std::int64_t>(hidden.size()) == n * m.config.d_model);
  const Tensor in = at::from_blob(const_cast<float*>(hidden.data()), {n, m.config.d_model}, at::TensorOptions(c10::kFloat));
  m.logits = at::linear(in.to(m.type), m.head).to(c10::kFloat).contiguous();
  return {m.logits.data_ptr<float>(), static_cast<std::size_t>(m.logits.numel())};
}

}  // namespace assay
