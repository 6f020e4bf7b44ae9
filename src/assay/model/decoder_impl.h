#pragma once
#include <memory>
#include <span>

#include "assay/model/decoder.h"

namespace assay {

/// What a way to decode provides; Decoder checks the arguments. Shapes and meaning as there.
struct DecoderImpl {
  DecoderImpl(ModelConfig c, Precision p) : config(std::move(c)), precision(p) {}
  virtual ~DecoderImpl() = default;
  [[nodiscard]] virtual std::unique_ptr<PageStore> new_store() const = 0;
  /// The cache is prepared for the tokens.
  virtual std::span<const float> run(std::span<const DecodeToken> tokens, std::span<const std::int64_t> wanted, KvCache& cache) = 0;
  virtual LogitRows logits(std::span<const float> hidden, std::int64_t n) = 0;
  virtual void logprobs(std::span<const float> hidden, std::span<const std::int32_t> targets, float* out) = 0;

  ModelConfig config;
  Precision precision;
};

/// f32 weights on the CPU.
std::unique_ptr<DecoderImpl> kernel_decoder(const Transformer& model, Precision precision);
/// Any device and dtype.
std::unique_ptr<DecoderImpl> composed_decoder(const Transformer& model, Precision precision);

}  // namespace assay
