#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "assay/model/kv_cache.h"
#include "assay/model/transformer.h"

namespace assay {

/// A token on its way through the decoder: it is written at (sequence, position) of the cache and sees what stands before it there.
struct DecodeToken {
  std::int32_t id = 0;
  std::int32_t sequence = 0, position = 0;
};

/// Rows of logits, f32, valid until the decoder's next call.
struct LogitRows {
  const float* data = nullptr;
  std::int64_t stride = 0, d_vocab = 0;
  [[nodiscard]] std::span<const float> operator[](std::size_t row) const {
    return {data + static_cast<std::int64_t>(row) * stride, static_cast<std::size_t>(d_vocab)};
  }
};

struct DecoderImpl;

/// The inference forward of a Transformer: no gradients, keys and values kept. A snapshot: build a new one when the weights have changed.
/// f32 weights on the CPU run in kernels, packed once in what these stream, memory reused from step to step; what a token gets there does
/// not depend on the tokens of other sequences in the same call, nor on how a sequence is cut into calls, nor on the number of threads, bit
/// for bit. On every other device and dtype it is Transformer::forward with an attention that reads the cache: the same up to rounding.
class Decoder {
 public:
  Decoder(const Transformer& model, Precision precision);
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  [[nodiscard]] const ModelConfig& config() const;
  [[nodiscard]] Precision precision() const;
  /// An empty cache for this decoder (and others of the same shape, precision and device).
  [[nodiscard]] KvCache new_cache() const;

  /// Runs the tokens and writes their keys and values into the cache. Tokens of one sequence stand together, positions ascending by 1 from
  /// what the cache holds of it. Returns the residual stream after the final norm of tokens `wanted` (indices into tokens), [wanted.size(),
  /// d_model] f32; valid until the next call. Throws on ids outside the vocabulary and positions beyond n_ctx.
  std::span<const float> run(std::span<const DecodeToken> tokens, std::span<const std::int64_t> wanted, KvCache& cache);
  /// Logits of n such rows.
  LogitRows logits(std::span<const float> hidden, std::int64_t n);
  /// log p of one target for each such row.
  void logprobs(std::span<const float> hidden, std::span<const std::int32_t> targets, float* out);

 private:
  std::unique_ptr<DecoderImpl> impl_;
};

}  // namespace assay
