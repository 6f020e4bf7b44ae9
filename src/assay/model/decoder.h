#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "assay/model/transformer.h"

namespace assay {

/// Keys and values of sequences in flight: one row a sequence, positions 0 to n_ctx - 1, f32.
class KvCache {
 public:
  KvCache(const ModelConfig& config, std::int64_t rows, std::int64_t n_ctx);
  [[nodiscard]] float* keys(std::int64_t layer, std::int64_t row) { return keys_.data() + offset(layer, row); }      // [n_ctx, n_kv_heads, d_head]
  [[nodiscard]] float* values(std::int64_t layer, std::int64_t row) { return values_.data() + offset(layer, row); }  // [n_ctx, n_kv_heads, d_head]
  /// The first n positions of `from` become those of `to`: a shared prefix is computed once.
  void copy_prefix(std::int64_t from, std::int64_t to, std::int64_t n);
  [[nodiscard]] std::int64_t n_ctx() const { return n_ctx_; }

 private:
  [[nodiscard]] std::size_t offset(std::int64_t layer, std::int64_t row) const { return static_cast<std::size_t>((layer * rows_ + row) * n_ctx_ * width_); }
  std::int64_t n_layers_, rows_, n_ctx_, width_;
  std::vector<float> keys_, values_;
};

/// A token on its way through the decoder: it is written at (row, position) of the cache and sees what stands before it there.
struct DecodeToken {
  std::int32_t id = 0;
  std::int32_t row = 0, position = 0;
};

/// The inference forward of a Transformer: no gradients, weights packed once, memory reused from step to step. Build a new one when the weights have changed.
class Decoder {
 public:
  Decoder(const Transformer& model, Precision precision);
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  [[nodiscard]] const ModelConfig& config() const;

  /// Runs the tokens (any mixture of rows; a row's positions in ascending order) and writes their keys and values into the cache. Returns the residual stream after the
  /// final norm of tokens `wanted` (indices into tokens), [wanted.size(), d_model] f32; valid until the next call.
  std::span<const float> run(std::span<const DecodeToken> tokens, std::span<const std::int64_t> wanted, KvCache& cache);
  /// Logits of such rows: [n, d_vocab] f32, valid until the next call.
  std::span<const float> logits(std::span<const float> hidden, std::int64_t n);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace assay
