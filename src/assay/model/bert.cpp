#include "assay/model/bert.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cassert>
#include <numeric>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/tensor/safetensors.h"

namespace assay {
namespace {

constexpr std::size_t kMaxTokens = 256;        // sentence_bert_config.json of the model
constexpr std::size_t kTokensInFlight = 4096;  // a batch's memory: 4096 x d_mlp floats

Tensor index_of(std::span<const std::int32_t> ids) {
  Tensor out = at::empty({static_cast<std::int64_t>(ids.size())}, c10::kLong);
  std::copy(ids.begin(), ids.end(), out.data_ptr<std::int64_t>());
  return out;
}

void check_range(std::span<const std::int32_t> ids, std::int64_t size, const char* what) {
  for (const std::int32_t id : ids)
    if (id < 0 || id >= size)
      throw Error("sentence encoder", std::string(what) + " " + std::to_string(id) + " is outside 0.." + std::to_string(size - 1));
}

}  // namespace

BertConfig bert_config_from_hf(const Json& hf, std::string_view where) {
  const auto type = require<std::string>(hf, "model_type", where);
  if (type != "bert")
    throw Error("model config", std::string(where) + ": model_type '" + type + "' is no sentence encoder that is supported; expected bert");
  if (const auto positions = value_or<std::string>(hf, "position_embedding_type", "absolute", where); positions != "absolute")
    throw Error("model config", std::string(where) + ": position_embedding_type '" + positions + "' is not supported; expected absolute");
  BertConfig c;
  c.n_layers = require<std::int64_t>(hf, "num_hidden_layers", where);
  c.d_model = require<std::int64_t>(hf, "hidden_size", where);
  c.n_heads = require<std::int64_t>(hf, "num_attention_heads", where);
  c.d_mlp = require<std::int64_t>(hf, "intermediate_size", where);
  c.d_vocab = require<std::int64_t>(hf, "vocab_size", where);
  c.n_ctx = require<std::int64_t>(hf, "max_position_embeddings", where);
  c.n_types = value_or<std::int64_t>(hf, "type_vocab_size", 2, where);
  c.norm_eps = value_or<double>(hf, "layer_norm_eps", 1e-12, where);
  const auto act = value_or<std::string>(hf, "hidden_act", "gelu", where);
  if (act == "gelu_new" || act == "gelu_pytorch_tanh")
    c.activation = Activation::gelu_tanh;
  else if (act != "gelu")
    throw Error("model config", std::string(where) + ": hidden_act '" + act + "' is not supported; expected gelu or gelu_new");
  for (const auto& [name, value] : {std::pair("num_hidden_layers", c.n_layers),
                                    {"hidden_size", c.d_model},
                                    {"num_attention_heads", c.n_heads},
                                    {"intermediate_size", c.d_mlp},
                                    {"vocab_size", c.d_vocab},
                                    {"max_position_embeddings", c.n_ctx},
                                    {"type_vocab_size", c.n_types}})
    if (value < 1 || value > (1 << 24)) throw Error("model config", std::string(where) + ": " + name + " is " + std::to_string(value));
  if (c.d_model % c.n_heads != 0) throw Error("model config", std::string(where) + ": hidden_size is no multiple of num_attention_heads");
  return c;
}

BertEncoder BertEncoder::from_folder(const fs::path& folder) {
  BertEncoder out;
  out.where_ = folder.string();
  const fs::path config_path = folder / "config.json";
  if (!fs::exists(config_path))
    throw Error("model load", out.where_ + " lacks config.json",
                "a sentence encoder is a Hugging Face folder: assay model fetch minilm --out DIR");
  out.config_ = bert_config_from_hf(read_json(config_path), config_path.string());
  const SafetensorsFolder tensors(folder);
  for (const std::string& name : tensors.names()) {
    const Tensor t = tensors.tensor(name);
    if (t.is_floating_point()) out.weights_[name.starts_with("bert.") ? name.substr(5) : name] = t.to(c10::kFloat);
  }
  const BertConfig& c = out.config_;
  const auto expect = [&](const std::string& name, std::vector<std::int64_t> shape) {
    const auto it = out.weights_.find(name);
    if (it == out.weights_.end()) throw Error("model load", out.where_ + " lacks the tensor '" + name + "'");
    if (it->second.sizes() != c10::IntArrayRef(shape))
      throw Error("model load", out.where_ + ": tensor '" + name + "' has another shape than its config asks for");
  };
  const auto expect_linear = [&](const std::string& layer, std::int64_t to, std::int64_t from) {
    expect(layer + ".weight", {to, from});
    expect(layer + ".bias", {to});
  };
  const auto expect_norm = [&](const std::string& layer) {
    expect(layer + ".weight", {c.d_model});
    expect(layer + ".bias", {c.d_model});
  };
  expect("embeddings.word_embeddings.weight", {c.d_vocab, c.d_model});
  expect("embeddings.position_embeddings.weight", {c.n_ctx, c.d_model});
  expect("embeddings.token_type_embeddings.weight", {c.n_types, c.d_model});
  expect_norm("embeddings.LayerNorm");
  for (std::int64_t l = 0; l < c.n_layers; ++l) {
    const std::string at = "encoder.layer." + std::to_string(l) + ".";
    for (const char* part : {"query", "key", "value"}) expect_linear(at + "attention.self." + part, c.d_model, c.d_model);
    expect_linear(at + "attention.output.dense", c.d_model, c.d_model);
    expect_norm(at + "attention.output.LayerNorm");
    expect_linear(at + "intermediate.dense", c.d_mlp, c.d_model);
    expect_linear(at + "output.dense", c.d_model, c.d_mlp);
    expect_norm(at + "output.LayerNorm");
  }
  if (out.weights_.contains("cls.predictions.bias")) {
    expect_linear("cls.predictions.transform.dense", c.d_model, c.d_model);
    expect_norm("cls.predictions.transform.LayerNorm");
    expect("cls.predictions.bias", {c.d_vocab});
  }
  return out;
}

Tensor BertEncoder::linear(const Tensor& x, const std::string& layer) const {
  return at::linear(x, weights_.at(layer + ".weight"), weights_.at(layer + ".bias"));
}

Tensor BertEncoder::norm(const Tensor& x, const std::string& layer) const {
  return at::layer_norm(x, {config_.d_model}, weights_.at(layer + ".weight"), weights_.at(layer + ".bias"), config_.norm_eps);
}

Tensor BertEncoder::activation(const Tensor& x) const { return at::gelu(x, config_.activation == Activation::gelu ? "none" : "tanh"); }

/// x [n, d_model] -> [n, d_model].
Tensor BertEncoder::attention(const Tensor& x, const std::string& layer, std::span<const std::int64_t> offsets) const {
  const std::int64_t n = x.size(0), d_head = config_.d_model / config_.n_heads;
  // [heads, n, d_head]
  const auto heads = [&](const char* part) { return linear(x, layer + part).view({n, config_.n_heads, d_head}).transpose(0, 1); };
  const Tensor q = heads("query"), k = heads("key"), v = heads("value");
  std::vector<Tensor> z;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
    const auto of = [&](const Tensor& t) { return t.slice(1, offsets[s], offsets[s + 1]).unsqueeze(0); };
    z.push_back(at::scaled_dot_product_attention(of(q), of(k), of(v)).squeeze(0));
  }
  return at::cat(z, 1).transpose(0, 1).reshape({n, config_.d_model});
}

Tensor BertEncoder::forward(std::span<const std::int32_t> ids, std::span<const std::int32_t> type_ids,
                            std::span<const std::int64_t> offsets, std::vector<Tensor>* layers) const {
  assert(ids.size() == type_ids.size() && !offsets.empty() && offsets.back() == static_cast<std::int64_t>(ids.size()));
  c10::InferenceMode inference;
  check_range(ids, config_.d_vocab, "token id");
  check_range(type_ids, config_.n_types, "type id");
  std::vector<std::int32_t> positions;
  for (std::size_t s = 0; s + 1 < offsets.size(); ++s)
    for (std::int64_t i = offsets[s]; i < offsets[s + 1]; ++i) positions.push_back(static_cast<std::int32_t>(i - offsets[s]));
  check_range(positions, config_.n_ctx, "position");
  const auto rows = [&](const char* table, std::span<const std::int32_t> of) {
    return weights_.at(std::string("embeddings.") + table + ".weight").index_select(0, index_of(of));
  };
  Tensor x = norm(rows("word_embeddings", ids) + rows("position_embeddings", positions) + rows("token_type_embeddings", type_ids),
                  "embeddings.LayerNorm");
  if (layers) layers->push_back(x);
  for (std::int64_t l = 0; l < config_.n_layers; ++l) {
    const std::string at = "encoder.layer." + std::to_string(l) + ".";
    x = norm(x + linear(attention(x, at + "attention.self.", offsets), at + "attention.output.dense"), at + "attention.output.LayerNorm");
    x = norm(x + linear(activation(linear(x, at + "intermediate.dense")), at + "output.dense"), at + "output.LayerNorm");
    if (layers) layers->push_back(x);
  }
  return x;
}

Tensor BertEncoder::masked_lm_logits(const Tensor& hidden) const {
  if (!weights_.contains("cls.predictions.bias")) throw Error("sentence encoder", where_ + " holds no masked-LM head");
  c10::InferenceMode inference;
  const Tensor x = norm(activation(linear(hidden, "cls.predictions.transform.dense")), "cls.predictions.transform.LayerNorm");
  return at::linear(x, weights_.at("embeddings.word_embeddings.weight"), weights_.at("cls.predictions.bias"));
}

SentenceEncoder SentenceEncoder::from_folder(const fs::path& folder) {
  const fs::path path = folder / "tokenizer.json";
  if (!fs::exists(path)) throw Error("model load", folder.string() + " lacks tokenizer.json");
  Json tokenizer = read_json(path);
  // Published files pad every text to 128 tokens and cut it there; the model's own limit is 256.
  tokenizer["truncation"] = tokenizer["padding"] = nullptr;
  return {BertEncoder::from_folder(folder), Tokenizer::from_json(dump(tokenizer), path.string())};
}

std::vector<TokenId> SentenceEncoder::encode(std::string_view text) const {
  std::vector<TokenId> ids = tokenizer_.encode(text);
  const std::size_t limit = std::min(kMaxTokens, static_cast<std::size_t>(bert_.config().n_ctx));
  if (ids.size() > limit) {
    ids[limit - 1] = ids.back();  // [SEP]
    ids.resize(limit);
  }
  if (ids.empty())
    throw Error("sentence encoder", "the tokenizer gave no token for a text of " + std::to_string(text.size()) + " bytes",
                "its post-processor should add [CLS] and [SEP]");
  return ids;
}

Tensor SentenceEncoder::embed(std::span<const std::string> texts, Progress& progress) const {
  Tensor out = at::empty({static_cast<std::int64_t>(texts.size()), dimensions()});
  std::vector<std::vector<TokenId>> ids;
  for (const std::string& text : texts) ids.push_back(encode(text));
  progress.begin("embed", static_cast<std::int64_t>(texts.size()), "texts");
  for (std::size_t next = 0; next < ids.size();) {
    const std::size_t first = next;
    std::vector<std::int32_t> flat;
    std::vector<std::int64_t> offsets = {0};
    while (next < ids.size() && (next == first || flat.size() + ids[next].size() <= kTokensInFlight)) {
      flat.insert(flat.end(), ids[next].begin(), ids[next].end());
      offsets.push_back(static_cast<std::int64_t>(flat.size()));
      ++next;
    }
    const Tensor hidden = bert_.forward(flat, std::vector<std::int32_t>(flat.size(), 0), offsets);
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
      const Tensor mean = hidden.slice(0, offsets[s], offsets[s + 1]).mean(0);
      out[static_cast<std::int64_t>(first + s)].copy_(mean / mean.norm().clamp_min(1e-12));
    }
    progress.update(static_cast<std::int64_t>(next));
    if (progress.stop_requested()) throw Interrupted("embed");
  }
  progress.end();
  return out;
}

}  // namespace assay
