#include "assay/model/llama2c.h"

#include <ATen/ops/empty.h>

#include <cstring>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/model/families/llama.h"
#include "assay/text/gguf_tokenizer.h"

namespace assay {
namespace {

constexpr std::uint32_t kMagic = 0x616b3432;  // "ak42"
constexpr std::size_t kVersion1Header = 256;

[[noreturn]] void broken(const std::filesystem::path& path, const std::string& what) {
  throw Error("llama2.c", path.string() + ": " + what, "the file is damaged or no llama2.c file");
}

template <class T>
T value_at(std::span<const std::byte> bytes, std::size_t at, const std::filesystem::path& path) {
  if (at > bytes.size() || bytes.size() - at < sizeof(T)) broken(path, "the file ends at byte " + std::to_string(bytes.size()));
  T out;
  std::memcpy(&out, bytes.data() + at, sizeof(T));
  return out;
}

/// Hands out the weights in the order of the file.
class Floats {
 public:
  Floats(std::span<const std::byte> bytes, std::size_t at) : bytes_(bytes), at_(at) {}
  Tensor take(std::vector<std::int64_t> shape) {
    Tensor out = at::empty(shape);
    const auto size = static_cast<std::size_t>(out.nbytes());
    std::memcpy(out.data_ptr(), bytes_.data() + at_, size);
    at_ += size;
    return out;
  }
  void skip(std::int64_t values) { at_ += static_cast<std::size_t>(values) * sizeof(float); }

 private:
  std::span<const std::byte> bytes_;
  std::size_t at_;
};

}  // namespace

Transformer transformer_from_llama2c(const std::filesystem::path& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  const bool version1 = value_at<std::uint32_t>(bytes, 0, path) == kMagic;
  if (version1)
    if (const auto version = value_at<std::int32_t>(bytes, 4, path); version != 1)
      broken(path, "version " + std::to_string(version) + " is not supported; expected 1 (f32), or the first container without a version");
  const auto size = [&](std::size_t i) { return std::int64_t{value_at<std::int32_t>(bytes, (version1 ? 8 : 0) + 4 * i, path)}; };
  ModelConfig c;
  c.d_model = size(0), c.d_mlp = size(1), c.n_layers = size(2), c.n_heads = size(3), c.n_kv_heads = size(4), c.n_ctx = size(6);
  c.d_vocab = std::abs(size(5));  // the first container: negative = an unembedding of its own
  c.tied_embeddings = version1 ? value_at<std::uint8_t>(bytes, 36, path) != 0 : size(5) > 0;
  c.d_head = c.n_heads > 0 ? c.d_model / c.n_heads : 0;
  c.bos_id = 1, c.eos_ids = {2};
  try {
    c.validate();
  } catch (const Error& e) {
    broken(path, e.message());
  }
  if (c.d_model % c.n_heads != 0)
    broken(path, "dim " + std::to_string(c.d_model) + " is no multiple of " + std::to_string(c.n_heads) + " heads");
  // In floating point: sizes of a hostile header must not overflow.
  const std::int64_t rope = version1 ? 0 : c.n_ctx * c.d_head;
  const double q = static_cast<double>(c.d_model), kv = static_cast<double>(c.n_kv_heads * c.d_head), mlp = static_cast<double>(c.d_mlp);
  const double values = static_cast<double>(c.n_layers) * (2 * q * q + 2 * kv * q + 3 * q * mlp + 2 * q) + q + static_cast<double>(rope) +
                        static_cast<double>(c.d_vocab) * q * (c.tied_embeddings ? 1 : 2);
  const std::size_t header = version1 ? kVersion1Header : 28;
  if (static_cast<double>(header) + 4 * values != static_cast<double>(bytes.size()))
    broken(path, "holds " + std::to_string(bytes.size()) + " bytes, which do not fit the sizes that it states");

  Transformer model{c, {}};
  Weights& w = model.weights;
  w.blocks.resize(static_cast<std::size_t>(c.n_layers));
  Floats in(bytes, header);
  const auto each = [&](Tensor BlockWeights::*tensor, std::vector<std::int64_t> shape) {
    for (BlockWeights& block : w.blocks) block.*tensor = in.take(shape);
  };
  const std::int64_t d = c.d_model, d_kv = c.n_kv_heads * c.d_head;
  if (version1) {
    each(&BlockWeights::ln1_w, {d});
    each(&BlockWeights::ln2_w, {d});
    w.ln_final_w = in.take({d});
  }
  w.W_E = in.take({c.d_vocab, d});
  if (!version1) each(&BlockWeights::ln1_w, {d});
  each(&BlockWeights::W_Q, {d, d});
  each(&BlockWeights::W_K, {d_kv, d});
  each(&BlockWeights::W_V, {d_kv, d});
  each(&BlockWeights::W_O, {d, d});
  if (!version1) each(&BlockWeights::ln2_w, {d});
  each(&BlockWeights::W_gate, {c.d_mlp, d});
  each(&BlockWeights::W_out, {d, c.d_mlp});
  each(&BlockWeights::W_in, {c.d_mlp, d});
  if (!version1) {
    w.ln_final_w = in.take({d});
    in.skip(rope);
  }
  w.W_U = c.tied_embeddings ? w.W_E : in.take({c.d_vocab, d});
  for (BlockWeights& block : w.blocks) {
    block.W_Q = families::half_split(block.W_Q, c.n_heads);
    block.W_K = families::half_split(block.W_K, c.n_kv_heads);
  }
  return model;
}

std::string tokenizer_json_from_llama2c(const std::filesystem::path& path, std::int64_t d_vocab) {
  const std::string bytes = read_text(path);
  const auto view = std::as_bytes(std::span(bytes));
  std::size_t at = 4;  // the longest piece's length comes first
  Json tokens = Json::array(), scores = Json::array(), types = Json::array();
  for (std::int64_t id = 0; id < d_vocab; ++id) {
    scores.push_back(value_at<float>(view, at, path));
    const auto length = value_at<std::int32_t>(view, at + 4, path);
    at += 8;
    if (length < 0 || static_cast<std::size_t>(length) > bytes.size() - at)
      broken(path, "piece " + std::to_string(id) + " goes beyond the end of the file");
    std::string piece;
    for (const char ch : bytes.substr(at, static_cast<std::size_t>(length))) piece += ch == ' ' ? "\xE2\x96\x81" : std::string(1, ch);
    at += static_cast<std::size_t>(length);
    // sentencepiece's control tokens stand there with newlines around them.
    tokens.push_back(id == 0 ? "<unk>" : id == 1 ? "<s>" : id == 2 ? "</s>" : piece);
    types.push_back(id == 0 ? 2 : id <= 2 ? 3 : id < 259 ? 6 : 1);  // ggml: unknown, control, byte, normal
  }
  if (at != bytes.size()) broken(path, "holds more than the " + std::to_string(d_vocab) + " pieces of the model's vocabulary");
  return tokenizer_json_from_gguf({{"tokenizer.ggml.model", "llama"},
                                   {"tokenizer.ggml.tokens", std::move(tokens)},
                                   {"tokenizer.ggml.scores", std::move(scores)},
                                   {"tokenizer.ggml.token_type", std::move(types)},
                                   {"tokenizer.ggml.bos_token_id", 1},
                                   {"tokenizer.ggml.unknown_token_id", 0}});
}

}  // namespace assay
