#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "assay/base/progress.h"
#include "assay/model/config.h"
#include "assay/tensor/tensor.h"
#include "assay/text/tokenizer.h"

namespace assay {

struct BertConfig {
  std::int64_t n_layers = 0, d_model = 0, n_heads = 0, d_mlp = 0, d_vocab = 0, n_ctx = 0, n_types = 2;
  double norm_eps = 1e-12;
  Activation activation = Activation::gelu;
};
/// From a config.json of the model type "bert" with absolute positions.
BertConfig bert_config_from_hf(const Json& hf, std::string_view where);

/// BERT's encoder (Devlin et al. 2018), f32, for embeddings: it is not trained here. Sequences lie end to end, as in TokenBatch; each sees
/// itself only, in both directions.
class BertEncoder {
 public:
  /// A Hugging Face folder, with or without "bert." before the names and with or without the masked-LM head. Errors name the folder and the
  /// tensor.
  static BertEncoder from_folder(const std::filesystem::path& folder);

  /// ids and type_ids [n]; offsets as in TokenBatch -> [n, d_model]. `layers`, where given, gets the embedding and each block's output.
  [[nodiscard]] Tensor forward(std::span<const std::int32_t> ids, std::span<const std::int32_t> type_ids,
                               std::span<const std::int64_t> offsets, std::vector<Tensor>* layers = nullptr) const;
  /// Logits of the masked-LM head for rows of `hidden`: [n, d_vocab]. An Error where the folder has no head.
  [[nodiscard]] Tensor masked_lm_logits(const Tensor& hidden) const;
  [[nodiscard]] const BertConfig& config() const { return config_; }

 private:
  /// x W^T + b by the name of the layer, and its layer norm.
  [[nodiscard]] Tensor linear(const Tensor& x, const std::string& layer) const;
  [[nodiscard]] Tensor norm(const Tensor& x, const std::string& layer) const;
  [[nodiscard]] Tensor attention(const Tensor& x, const std::string& layer, std::span<const std::int64_t> offsets) const;
  [[nodiscard]] Tensor activation(const Tensor& x) const;

  BertConfig config_;
  NamedTensors weights_;  // without "bert."
  std::string where_;
};

/// Sentences to points: a BERT encoder, the mean over all tokens of a text ([CLS] and [SEP] included), L2-normalised. The recipe of
/// sentence-transformers' all-MiniLM-L6-v2.
class SentenceEncoder {
 public:
  static SentenceEncoder from_folder(const std::filesystem::path& folder);
  /// [CLS] text [SEP], cut to 256 tokens (a longer text keeps its beginning).
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text) const;
  /// [texts, d_model] f32. What stands beside a text does not change its embedding.
  [[nodiscard]] Tensor embed(std::span<const std::string> texts, Progress& progress = no_progress()) const;
  [[nodiscard]] std::int64_t dimensions() const { return bert_.config().d_model; }

 private:
  SentenceEncoder(BertEncoder bert, Tokenizer tokenizer) : bert_(std::move(bert)), tokenizer_(std::move(tokenizer)) {}
  BertEncoder bert_;
  Tokenizer tokenizer_;
};

}  // namespace assay
