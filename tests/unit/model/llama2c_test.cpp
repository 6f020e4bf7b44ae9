#include "assay/model/llama2c.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <fstream>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/text/tokenizer.h"

namespace assay {
namespace {

template <class T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// A checkpoint of dim 4, hidden 6, 1 layer, 2 heads, 1 KV head, 5 tokens, 3 positions whose n-th float is n.
std::string container(bool version1, std::int32_t vocab = 5, bool shared = true) {
  std::string bytes;
  if (version1) put<std::uint32_t>(bytes, 0x616b3432), put<std::int32_t>(bytes, 1);
  for (const std::int32_t size : {4, 6, 1, 2, 1, vocab, 3}) put(bytes, size);
  if (version1) {
    put<std::uint8_t>(bytes, shared);
    bytes.resize(256, '\0');
  }
  const int floats = 20 + 4 + 16 + 8 + 8 + 16 + 4 + 24 + 24 + 24 + 4 + (version1 ? 0 : 6) + (shared ? 0 : 20);
  for (int i = 0; i < floats; ++i) put(bytes, static_cast<float>(i));
  return bytes;
}

class Llama2c : public testing::Test {
 protected:
  void write(const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }
  std::string failure(const std::string& bytes) {
    write(bytes);
    try {
      transformer_from_llama2c(path);
    } catch (const Error& e) {
      EXPECT_NE(e.message().find(path.string()), std::string::npos) << e.what();
      return e.message();
    }
    return "nothing was thrown";
  }
  TemporaryFolder temporary;
  const fs::path path = temporary.path() / "model.bin";
};

TEST_F(Llama2c, the_first_container) {
  write(container(false));
  const Transformer model = transformer_from_llama2c(path);
  const Weights& w = model.weights;
  const auto range = [](int from, std::vector<std::int64_t> shape) {
    const Tensor out = at::empty(shape);
    return at::arange(from, from + out.numel()).to(c10::kFloat).reshape(shape);
  };
  EXPECT_TRUE(at::equal(w.W_E, range(0, {5, 4})));
  EXPECT_TRUE(at::equal(w.blocks[0].ln1_w, range(20, {4})));
  // One pair a head: nothing moves.
  EXPECT_TRUE(at::equal(w.blocks[0].W_Q, range(24, {4, 4})));
  EXPECT_TRUE(at::equal(w.blocks[0].W_K, range(40, {2, 4})));
  EXPECT_TRUE(at::equal(w.blocks[0].W_O, range(56, {4, 4})));
  EXPECT_TRUE(at::equal(w.blocks[0].ln2_w, range(72, {4})));
  EXPECT_TRUE(at::equal(w.blocks[0].W_gate, range(76, {6, 4})));
  EXPECT_TRUE(at::equal(w.blocks[0].W_out, range(100, {4, 6})));
  EXPECT_TRUE(at::equal(w.blocks[0].W_in, range(124, {6, 4})));
  EXPECT_TRUE(at::equal(w.ln_final_w, range(148, {4})));
  EXPECT_TRUE(w.W_U.is_same(w.W_E));
  EXPECT_TRUE(model.config.tied_embeddings);
}

TEST_F(Llama2c, version_1_and_an_unembedding_of_its_own) {
  write(container(true, 5, false));
  const Transformer model = transformer_from_llama2c(path);
  EXPECT_FALSE(model.config.tied_embeddings);
  EXPECT_EQ(model.weights.ln_final_w[0].item<float>(), 8);
  EXPECT_EQ(model.weights.W_E[0][0].item<float>(), 12);
  EXPECT_EQ(model.weights.W_U[4][3].item<float>(), 171);
  write(container(false, -5, false));
  EXPECT_FALSE(transformer_from_llama2c(path).config.tied_embeddings);
}

TEST_F(Llama2c, broken_files) {
  const std::string good = container(false);
  EXPECT_EQ(failure(good), "nothing was thrown");
  EXPECT_NE(failure(good + "x").find("do not fit the sizes"), std::string::npos);
  EXPECT_NE(failure(good.substr(0, good.size() - 4)).find("do not fit the sizes"), std::string::npos);
  for (std::size_t size = 0; size < 32; ++size) EXPECT_NE(failure(good.substr(0, size)), "nothing was thrown");
  EXPECT_NE(failure(std::string(28, '\x7f')), "nothing was thrown");
  EXPECT_NE(failure(std::string(28, '\0')).find("d_model is 0"), std::string::npos);
  std::string quantised = container(true);
  quantised[4] = 2;
  EXPECT_NE(failure(quantised).find("version 2"), std::string::npos);
}

TEST_F(Llama2c, its_tokenizer_merges_by_score_and_falls_back_to_bytes) {
  std::vector<std::pair<float, std::string>> pieces = {{0, "<unk>"}, {0, "\n<s>\n"}, {0, "\n</s>\n"}};
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    pieces.emplace_back(0, name);
  }
  for (const auto& [score, piece] :
       std::vector<std::pair<float, std::string>>{{-9, " "}, {-9, "a"}, {-9, "b"}, {-9, "c"}, {-1, "bc"}, {-2, "ab"}, {-3, " a"}})
    pieces.emplace_back(score, piece);
  std::string bytes;
  put<std::int32_t>(bytes, 7);
  for (const auto& [score, piece] : pieces) {
    put(bytes, score);
    put(bytes, static_cast<std::int32_t>(piece.size()));
    bytes += piece;
  }
  write(bytes);
  const auto n = static_cast<std::int64_t>(pieces.size());
  const Tokenizer tokenizer = Tokenizer::from_json(tokenizer_json_from_llama2c(path, n), "test");
  EXPECT_EQ(tokenizer.encode("abc"), (std::vector<TokenId>{1, 265, 263}));  // <s> " a" "bc": the best score first
  EXPECT_EQ(tokenizer.encode("a\xc3\xa9"), (std::vector<TokenId>{1, 265, 3 + 0xc3, 3 + 0xa9}));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("ab c\xc3\xa9"), true), "ab c\xc3\xa9");
  EXPECT_THROW((void)tokenizer_json_from_llama2c(path, n + 1), Error);
  EXPECT_THROW((void)tokenizer_json_from_llama2c(path, n - 1), Error);
}

}  // namespace
}  // namespace assay
