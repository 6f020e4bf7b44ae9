#include "assay/model/decoder.h"

#include <ATen/ATen.h>

#include <cassert>
#include <string>

#include "assay/base/error.h"
#include "assay/model/decoder_impl.h"

namespace assay {

Decoder::Decoder(const Transformer& model, Precision precision) {
  const Tensor& w = model.weights.W_E;
  impl_ = w.is_cpu() && w.scalar_type() == at::kFloat ? kernel_decoder(model, precision) : composed_decoder(model, precision);
}

Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
const ModelConfig& Decoder::config() const { return impl_->config; }
Precision Decoder::precision() const { return impl_->precision; }
KvCache Decoder::new_cache() const { return KvCache(impl_->new_store()); }

std::span<const float> Decoder::run(std::span<const DecodeToken> tokens, std::span<const std::int64_t> wanted, KvCache& cache) {
  const ModelConfig& c = impl_->config;
  for (const DecodeToken& token : tokens) {
    if (token.id < 0 || token.id >= c.d_vocab) {
      throw Error("generate",
                  "token id " + std::to_string(token.id) + " is outside the vocabulary of " + std::to_string(c.d_vocab) + " tokens");
    }
    if (token.position < 0 || token.position >= c.n_ctx) {
      throw Error("generate", "position " + std::to_string(token.position) + " is beyond the model's context of " +
                                  std::to_string(c.n_ctx) + " tokens");
    }
  }
  for (std::size_t begin = 0; begin < tokens.size();) {
    const DecodeToken& first = tokens[begin];
    std::size_t end = begin + 1;
    for (; end < tokens.size() && tokens[end].sequence == first.sequence; ++end)
      assert(tokens[end].position == tokens[end - 1].position + 1);
    cache.prepare(first.sequence, first.position, first.position + static_cast<std::int64_t>(end - begin));
    begin = end;
  }
  return impl_->run(tokens, wanted, cache);
}

LogitRows Decoder::logits(std::span<const float> hidden, std::int64_t n) {
  assert(static_cast<std::int64_t>(hidden.size()) == n * impl_->config.d_model);
  return impl_->logits(hidden, n);
}

void Decoder::logprobs(std::span<const float> hidden, std::span<const std::int32_t> targets, float* out) {
  assert(hidden.size() == targets.size() * static_cast<std::size_t>(impl_->config.d_model));
  impl_->logprobs(hidden, targets, out);
}

}  // namespace assay
