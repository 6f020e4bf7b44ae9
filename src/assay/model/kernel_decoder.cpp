#include "assay/model/decoder_impl.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <utility>

#include "assay/base/error.h"
#include "assay/model/fused/operands.h"
#include "assay/model/ops.h"

namespace assay {
namespace {

std::int64_t round_16(std::int64_t n) { return (n + 15) / 16 * 16; }

Tensor f32(const Tensor& t) { return t.defined() ? t.detach().to(at::kFloat).contiguous() : t; }
const float* floats(const Tensor& t) { return t.defined() ? t.data_ptr<float>() : nullptr; }

/// Matrices with one input, packed, and their biases (undefined: none).
struct PackedLinear {
  const std::uint32_t* W = nullptr;
  Tensor b;
  std::int64_t in_words = 0, out = 0;
};

/// Packed weights behind each other in the order in which a token meets them: reading them is one walk through (huge) pages, which the
/// kernels' look ahead crosses from matrix to matrix.
class Packer {
 public:
  explicit Packer(const kernels::FormatKernels& f) : f_(f) {}

  /// `to` is complete after finish().
  void add(PackedLinear& to, std::vector<Tensor> W, const std::vector<Tensor>& b) {
    for (Tensor& w : W) w = f32(w);
    const fused::Stack stack(W);
    to = {nullptr, {}, f_.words(stack.in()), stack.out()};
    if (std::any_of(b.begin(), b.end(), [](const Tensor& t) { return t.defined(); })) {
      to.b = at::zeros({round_16(stack.out())}, at::kFloat);
      std::int64_t begin = 0;
      for (std::size_t i = 0; i < W.size(); begin += W[i].size(0), ++i) {
        if (b[i].defined()) to.b.narrow(0, begin, W[i].size(0)).copy_(b[i].detach());
      }
    }
    parts_.push_back({&to, stack});
    total_ += stack.forward_words(f_);
  }

  fused::Words finish() {
    fused::Words all(total_);
    std::uint32_t* next = all.data();
    for (auto& [linear, stack] : parts_) {
      stack.forward_operand(f_, next);
      linear->W = next;
      next += stack.forward_words(f_);
    }
    return all;
  }

 private:
  const kernels::FormatKernels& f_;
  std::vector<std::pair<PackedLinear*, fused::Stack>> parts_;
  std::int64_t total_ = 0;
};

struct PackedBlock {
  Tensor ln1_w, ln1_b, ln2_w, ln2_b;  // f32 [d_model]
  PackedLinear qkv, o, up, down;
};

/// Memory that grows and is kept, 64-byte aligned.
class Buffer {
 public:
  template <class T>
  T* get(std::int64_t n) {
    static_assert(sizeof(T) == 4);
    if (n > capacity_) {
      capacity_ = n + n / 2;
      words_ = fused::Words(capacity_);
    }
    return reinterpret_cast<T*>(words_.data());
  }

 private:
  fused::Words words_;
  std::int64_t capacity_ = 0;
};

/// Up to kAttendRows consecutive tokens of one sequence.
struct Stretch {
  std::int64_t begin = 0, rows = 0;
  std::size_t pages = 0;  // where the sequence's pages begin in the table of pages
};

constexpr std::int64_t kSmallWork = 1 << 18;  // multiply-adds that are not worth another thread

/// Pages in the layout that the kernels read (kernels/decode.inc).
class KernelPages final : public PageStore {
 public:
  KernelPages(const ModelConfig& config, const kernels::FormatKernels& format)
      : n_kv_heads_(config.n_kv_heads), head_words_(format.decode.page_head_words(config.d_head)) {
    page_words_ = config.n_layers * n_kv_heads_ * head_words_;
  }
  void clear(std::int32_t page) override {
    make(page);
    std::memset(words(page), 0, bytes());
  }
  void copy(std::int32_t from, std::int32_t to) override {
    make(to);
    std::memcpy(words(to), words(from), bytes());
  }
  [[nodiscard]] std::uint32_t* words(std::int32_t page) const { return pages_[static_cast<std::size_t>(page)].data(); }
  /// Words from a page's begin to those of (layer, kv head).
  [[nodiscard]] std::int64_t offset(std::int64_t layer, std::int64_t head) const { return (layer * n_kv_heads_ + head) * head_words_; }

 private:
  void make(std::int32_t page) {
    while (pages_.size() <= static_cast<std::size_t>(page)) pages_.emplace_back(page_words_);
  }
  [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(page_words_) * sizeof(std::uint32_t); }

  std::int64_t n_kv_heads_, head_words_, page_words_;
  std::vector<fused::Words> pages_;
};

struct KernelDecoder final : DecoderImpl {
  KernelDecoder(const Transformer& model, Precision precision);
  [[nodiscard]] std::unique_ptr<PageStore> new_store() const override { return std::make_unique<KernelPages>(config, f); }
  std::span<const float> run(std::span<const DecodeToken> tokens, std::span<const std::int64_t> wanted, KvCache& cache) override;
  LogitRows logits(std::span<const float> hidden, std::int64_t n) override;
  void logprobs(std::span<const float> hidden, std::span<const std::int32_t> targets, float* out) override;

  const kernels::FormatKernels& f;
  Tensor embedding, positions, ln_final_w, ln_final_b;
  std::vector<PackedBlock> blocks;
  PackedLinear head;
  fused::Words packed;  // the weights of blocks and head
  Tensor cos, sin;      // [positions so far, rotated/2]
  std::int64_t rope_positions = 0;
  std::vector<Stretch> stretches;
  std::vector<std::uint32_t*> pages;    // of the sequences in this call, behind each other
  std::vector<std::uint32_t*> page_of;  // where each token is written
  Buffer x_memory, operand_memory, products_memory, rotated_memory, z_memory, scratch_memory, out_memory, hidden_rows_memory, logits_memory;

  /// C [n][round_16(out)] = or += A W^T + b.
  void product(std::int64_t n, const std::uint32_t* A, const PackedLinear& W, float* C, bool accumulate) const {
    const auto ldc = round_16(W.out), panels = ldc / 16, work = n * W.in_words * 16 * f.per_word;
    at::parallel_for(0, panels, std::max<std::int64_t>(1, kSmallWork / work), [&](std::int64_t begin, std::int64_t end) {
      f.decode.product(n, begin, end, W.in_words, A, W.in_words, W.W, C, ldc, accumulate);
    });
    if (W.b.defined()) {
      const float* b = W.b.data_ptr<float>();
      for (std::int64_t r = 0; r < n; ++r) kernels::kernels().add_rows(C + r * ldc, 1, ldc, b, nullptr);
    }
  }

  /// rows(begin, end) over n rows of about `width` floats each.
  template <class Rows>
  void for_rows(std::int64_t n, std::int64_t width, const Rows& rows) const {
    at::parallel_for(0, n, std::max<std::int64_t>(1, kSmallWork / 8 / width), rows);
  }

  /// Norm of rows at distance round_16(d_model) to rows in the format of `g`, each words(d_model) long.
  void norm(const kernels::FormatKernels& g, const Tensor& w, const Tensor& b, const float* in, std::int64_t n, std::uint32_t* to) const {
    const auto d = config.d_model, ld = round_16(d), words = g.words(d);
    const auto eps = static_cast<float>(config.norm_eps);
    for_rows(n, d, [&](std::int64_t begin, std::int64_t end) {
      for (auto r = begin; r < end; ++r) {
        if (config.norm == Norm::rms)
          g.rms_norm(in + r * ld, floats(w), eps, 1, d, to + r * words);
        else
          g.layer_norm(in + r * ld, floats(w), floats(b), eps, 1, d, to + r * words);
      }
    });
  }

  void rotary_up_to(std::int64_t n) {
    if (config.positions != Positions::rope || n <= rope_positions) return;
    rope_positions = std::min(config.n_ctx, std::max<std::int64_t>(2 * n, 256));
    const ops::RopeTable table = ops::rope_table(config, rope_positions);
    cos = f32(table.cos);
    sin = f32(table.sin);
  }

  void embed(std::span<const DecodeToken> tokens, float* to) const;
  void attend(std::int64_t layer, std::span<const DecodeToken> tokens, const float* qkv, const KernelPages& store, std::uint32_t* to);
  void activations(const float* up, std::int64_t n, std::uint32_t* to) const;
};

void KernelDecoder::embed(std::span<const DecodeToken> tokens, float* to) const {
  const auto d = config.d_model, ld = round_16(d);
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    float* row = to + static_cast<std::int64_t>(t) * ld;
    std::memcpy(row, floats(embedding) + tokens[t].id * d, static_cast<std::size_t>(d) * sizeof(float));
    std::fill(row + d, row + ld, 0.0F);
    if (config.positions == Positions::learned) {
      const float* position = floats(positions) + tokens[t].position * d;
      for (std::int64_t i = 0; i < d; ++i) row[i] += position[i];
    }
  }
}

/// qkv [n][round_16((heads + 2 kv) d_head)] -> z as operand rows [n][words(heads d_head)]. Keys and values of all tokens go into the cache
/// first, so that the tokens of one sequence see each other.
void KernelDecoder::attend(std::int64_t layer, std::span<const DecodeToken> tokens, const float* qkv, const KernelPages& store,
                           std::uint32_t* to) {
  const auto n = static_cast<std::int64_t>(tokens.size());
  const std::int64_t H = config.n_heads, G = config.n_kv_heads, D = config.d_head, group = H / G, width = (H + 2 * G) * D,
                     ld = round_16(width), kd = f.words(D), q_ld = f.words(width);
  std::uint32_t* rows = rotated_memory.get<std::uint32_t>(n * q_ld);
  float* z_rows = z_memory.get<float>(n * H * D);
  for_rows(n, ld, [&](std::int64_t begin, std::int64_t end) {
    for (auto t = begin; t < end; ++t) {
      const DecodeToken& token = tokens[static_cast<std::size_t>(t)];
      std::uint32_t* row = rows + t * q_ld;
      const std::int64_t half = cos.defined() ? cos.size(1) : 0;
      f.rope_rows(qkv + t * ld, 1, width, H + G, D, floats(cos), floats(sin), half, &token.position, 1.0F, row);
      std::uint32_t* page = page_of[static_cast<std::size_t>(t)];
      for (std::int64_t g = 0; g < G; ++g) {
        f.decode.page_write(row + (H + g) * kd, row + (H + G + g) * kd, D, token.position % kernels::kPageKeys,
                            page + store.offset(layer, g));
      }
    }
  });
  const auto scale = static_cast<float>(config.score_scale());
  const auto window = config.window(layer);
  std::int64_t longest = 0;
  for (const DecodeToken& token : tokens) longest = std::max<std::int64_t>(longest, token.position + 1);
  const auto scratch_words = f.decode.scratch_words(std::max(kernels::kAttendRows, group), longest);
  std::uint32_t* scratch_of_threads = scratch_memory.get<std::uint32_t>(scratch_words * at::get_num_threads());
  const auto items = static_cast<std::int64_t>(stretches.size()) * G;
  const auto grain = std::max<std::int64_t>(
      1, kSmallWork / std::max<std::int64_t>(1, 2 * longest * D * group * n / static_cast<std::int64_t>(stretches.size())));
  at::parallel_for(0, items, grain, [&](std::int64_t first, std::int64_t last) {
    std::uint32_t* own = scratch_of_threads + scratch_words * at::get_thread_num();
    for (auto item = first; item < last; ++item) {
      const Stretch s = stretches[static_cast<std::size_t>(item / G)];
      const DecodeToken& token = tokens[static_cast<std::size_t>(s.begin)];
      const std::int64_t g = item % G, keys = token.position + 1;
      // Pages before the first row's window are left out.
      const std::int64_t unseen = window > 0 ? std::max<std::int64_t>(0, keys - window) / kernels::kPageKeys : 0;
      const std::int64_t seen = keys - unseen * kernels::kPageKeys;
      std::uint32_t* const* seen_pages = pages.data() + s.pages + unseen;
      const std::uint32_t* q_rows = rows + s.begin * q_ld + g * group * kd;
      float* out_rows = z_rows + (s.begin * H + g * group) * D;
      if (s.rows == 1 && group <= kernels::kAttendRows) {  // the heads that share these keys are rows of one product
        f.decode.attention(group, seen, 0, window, D, scale, q_rows, kd, seen_pages, store.offset(layer, g), out_rows, D, own);
        continue;
      }
      for (std::int64_t h = 0; h < group; ++h) {
        f.decode.attention(s.rows, seen, 1, window, D, scale, q_rows + h * kd, q_ld, seen_pages, store.offset(layer, g), out_rows + h * D,
                           H * D, own);
      }
    }
  });
  for_rows(n, H * D, [&](std::int64_t begin, std::int64_t end) {
    f.to_rows(z_rows + begin * H * D, H * D, end - begin, H * D, to + begin * f.words(H * D));
  });
}

/// up [n][round_16(2 d_mlp or d_mlp)] -> operand rows [n][words(d_mlp)].
void KernelDecoder::activations(const float* up, std::int64_t n, std::uint32_t* to) const {
  const auto d = config.d_mlp, ld = round_16(config.gated_mlp ? 2 * d : d);
  for_rows(n, 8 * d, [&](std::int64_t begin, std::int64_t end) {
    f.activation(config.activation, config.gated_mlp, up + begin * ld, ld, end - begin, d, nullptr, to + begin * f.words(d), nullptr);
  });
}

KernelDecoder::KernelDecoder(const Transformer& model, Precision p) : DecoderImpl(model.config, p), f(fused::format(p)) {
  if (model.config.d_head % 2 != 0)
    throw Error("generate", "heads of odd width (" + std::to_string(model.config.d_head) + ") are not supported");
  const Weights& w = model.weights;
  embedding = f32(w.W_E);
  positions = f32(w.W_pos);
  ln_final_w = f32(w.ln_final_w);
  ln_final_b = f32(w.ln_final_b);
  Packer packer(f);
  blocks.resize(w.blocks.size());
  for (std::size_t i = 0; i < w.blocks.size(); ++i) {
    const BlockWeights& b = w.blocks[i];
    PackedBlock& block = blocks[i];
    block.ln1_w = f32(b.ln1_w), block.ln1_b = f32(b.ln1_b), block.ln2_w = f32(b.ln2_w), block.ln2_b = f32(b.ln2_b);
    packer.add(block.qkv, {b.W_Q, b.W_K, b.W_V}, {b.b_Q, b.b_K, b.b_V});
    packer.add(block.o, {b.W_O}, {b.b_O});
    if (model.config.gated_mlp)
      packer.add(block.up, {b.W_gate, b.W_in}, {b.b_gate, b.b_in});
    else
      packer.add(block.up, {b.W_in}, {b.b_in});
    packer.add(block.down, {b.W_out}, {b.b_out});
  }
  packer.add(head, {w.W_U}, {Tensor()});
  packed = packer.finish();
}

std::span<const float> KernelDecoder::run(std::span<const DecodeToken> tokens, std::span<const std::int64_t> wanted, KvCache& cache) {
  const ModelConfig& c = config;
  const auto& store = dynamic_cast<const KernelPages&>(cache.store());
  const auto n = static_cast<std::int64_t>(tokens.size());
  const auto d = c.d_model, ld = round_16(d);
  stretches.clear(), pages.clear(), page_of.clear();
  std::int64_t longest = 0;
  for (std::int64_t t = 0; t < n; ++t) {
    const DecodeToken& token = tokens[static_cast<std::size_t>(t)];
    longest = std::max<std::int64_t>(longest, token.position + 1);
    const bool goes_on = t > 0 && tokens[static_cast<std::size_t>(t - 1)].sequence == token.sequence;
    if (!goes_on) {
      stretches.push_back({t, 0, pages.size()});
      for (const std::int32_t page : cache.pages(token.sequence)) pages.push_back(store.words(page));
    } else if (stretches.back().rows == kernels::kAttendRows) {
      stretches.push_back({t, 0, stretches.back().pages});
    }
    ++stretches.back().rows;
    page_of.push_back(pages[stretches.back().pages + static_cast<std::size_t>(token.position / kernels::kPageKeys)]);
  }
  rotary_up_to(longest);

  const auto widest = std::max({f.words(d), f.words(c.n_heads * c.d_head), f.words(c.d_mlp)});
  float* x = x_memory.get<float>(n * ld);
  std::uint32_t* operand = operand_memory.get<std::uint32_t>(n * widest);
  float* products = products_memory.get<float>(n * round_16(std::max((c.n_heads + 2 * c.n_kv_heads) * c.d_head, 2 * c.d_mlp)));
  embed(tokens, x);
  for (std::int64_t layer = 0; layer < c.n_layers; ++layer) {
    const PackedBlock& block = blocks[static_cast<std::size_t>(layer)];
    norm(f, block.ln1_w, block.ln1_b, x, n, operand);
    product(n, operand, block.qkv, products, false);
    attend(layer, tokens, products, store, operand);
    product(n, operand, block.o, x, true);
    norm(f, block.ln2_w, block.ln2_b, x, n, operand);
    product(n, operand, block.up, products, false);
    activations(products, n, operand);
    product(n, operand, block.down, x, true);
  }

  const auto rows = static_cast<std::int64_t>(wanted.size());
  float* out = out_memory.get<float>(rows * d);
  for (std::int64_t i = 0; i < rows; ++i) {
    norm(kernels::kernels().f32, ln_final_w, ln_final_b, x + wanted[static_cast<std::size_t>(i)] * ld, 1,
         reinterpret_cast<std::uint32_t*>(out + i * d));
  }
  return {out, static_cast<std::size_t>(rows * d)};
}

LogitRows KernelDecoder::logits(std::span<const float> hidden, std::int64_t n) {
  const auto d = config.d_model, ld = round_16(config.d_vocab);
  assert(static_cast<std::int64_t>(hidden.size()) == n * d);
  std::uint32_t* rows = hidden_rows_memory.get<std::uint32_t>(n * f.words(d));
  float* logits = logits_memory.get<float>(n * ld);
  f.to_rows(hidden.data(), d, n, d, rows);
  product(n, rows, head, logits, false);
  return {logits, ld, config.d_vocab};
}

void KernelDecoder::logprobs(std::span<const float> hidden, std::span<const std::int32_t> targets, float* out) {
  constexpr std::size_t at_once = 64;
  const auto d = static_cast<std::size_t>(config.d_model);
  for (std::size_t begin = 0; begin < targets.size(); begin += at_once) {
    const auto n = std::min(at_once, targets.size() - begin);
    const LogitRows rows = logits(hidden.subspan(begin * d, n * d), static_cast<std::int64_t>(n));
    for_rows(static_cast<std::int64_t>(n), rows.d_vocab, [&](std::int64_t first, std::int64_t last) {
      for (auto r = first; r < last; ++r) {
        float logsumexp = 0;
        const auto i = static_cast<std::size_t>(r);
        kernels::kernels().softmax_rows(rows[i].data(), rows.stride, 1, rows.d_vocab, &targets[begin + i], &logsumexp, out + begin + i);
      }
    });
  }
}

}  // namespace

std::unique_ptr<DecoderImpl> kernel_decoder(const Transformer& model, Precision precision) {
  return std::make_unique<KernelDecoder>(model, precision);
}

}  // namespace assay
