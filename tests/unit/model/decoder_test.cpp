// The inference forward against the training forward, and that what a token gets does not depend on what is computed beside it.
#include "assay/model/decoder.h"

#include <gtest/gtest.h>

#include <cstring>

#include "small_model.h"

namespace assay {
namespace {

using testing_tools::small_config;

Transformer model_of(const ModelConfig& config) {
  at::manual_seed(7);
  Transformer model{config, testing_tools::random_weights(config)};
  testing_tools::each_tensor(model.weights, [](Tensor& t) { t = t.to(at::kFloat); });
  return model;
}

std::vector<ModelConfig> configs() {
  std::vector<ModelConfig> all;
  all.push_back(small_config(2, 64, 4, 2, 16, 96, 50));
  all.push_back(small_config(2, 40, 5, 1, 10, 72, 33));  // nothing is a multiple of 16
  all.back().attn_bias = all.back().attn_out_bias = true;
  all.push_back(small_config(1, 96, 2, 2, 48, 100, 70));
  all.back().tied_embeddings = true;
  all.back().activation = Activation::gelu_tanh;
  all.push_back(small_config(1, 128, 2, 2, 64, 64, 40));
  all.push_back(testing_tools::small_gpt(2, 48, 4, 192, 50));
  all.push_back(testing_tools::small_gpt(3, 40, 4, 75, 33, Activation::gelu));
  all.back().windows = {3, 0, 35}, all.back().attn_scale = 1.0, all.back().attn_bias = false;
  return all;
}

std::vector<DecodeToken> tokens_of(const std::vector<std::int32_t>& ids, std::int32_t sequence, std::int32_t begin = 0) {
  std::vector<DecodeToken> tokens;
  for (std::size_t i = 0; i < ids.size(); ++i) tokens.push_back({ids[i], sequence, begin + static_cast<std::int32_t>(i)});
  return tokens;
}

std::vector<std::int32_t> some_ids(std::size_t n, std::int64_t d_vocab, std::uint64_t seed) {
  std::vector<std::int32_t> ids;
  Rng rng(seed);
  for (std::size_t i = 0; i < n; ++i) ids.push_back(static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(d_vocab))));
  return ids;
}

std::vector<std::int64_t> all_of(std::size_t n) {
  std::vector<std::int64_t> all;
  for (std::size_t i = 0; i < n; ++i) all.push_back(static_cast<std::int64_t>(i));
  return all;
}

std::vector<float> run(Decoder& decoder, const std::vector<DecodeToken>& tokens, KvCache& cache) {
  const auto hidden = decoder.run(tokens, all_of(tokens.size()), cache);
  return {hidden.begin(), hidden.end()};
}

TEST(Decoder, LogitsEqualTheTrainingForwards) {
  for (const ModelConfig& config : configs()) {
    const Transformer model = model_of(config);
    const auto ids = some_ids(77, config.d_vocab, 1);
    TokenBatch batch;
    batch.add(ids);
    for (const auto precision : {Precision::f32, Precision::bf16}) {
      const Tensor wanted = model.logits(model.forward(batch, {precision}), precision);
      Decoder decoder(model, precision);
      KvCache cache = decoder.new_cache();
      const auto hidden = run(decoder, tokens_of(ids, cache.open()), cache);
      const LogitRows logits = decoder.logits(hidden, 77);
      double largest = 0;
      for (std::size_t r = 0; r < 77; ++r) {
        for (std::size_t c = 0; c < static_cast<std::size_t>(config.d_vocab); ++c) {
          largest = std::max(largest, std::abs(static_cast<double>(logits[r][c]) -
                                               wanted[static_cast<std::int64_t>(r)][static_cast<std::int64_t>(c)].item<double>()));
        }
      }
      EXPECT_LT(largest, precision == Precision::f32 ? 1e-4 : 0.15) << config.d_model << " " << static_cast<int>(precision);
    }
  }
}

TEST(Decoder, ATokenDoesNotDependOnTheBatchNorOnHowItsSequenceIsCut) {
  for (const ModelConfig& config : configs()) {
    const Transformer model = model_of(config);
    const auto ids = some_ids(70, config.d_vocab, 2);
    for (const auto precision : {Precision::f32, Precision::bf16}) {
      Decoder decoder(model, precision);
      KvCache cache = decoder.new_cache();
      const auto whole = run(decoder, tokens_of(ids, cache.open()), cache);
      const auto same = [&](const std::vector<float>& part, std::size_t from, std::size_t n, const char* what) {
        const auto d = static_cast<std::size_t>(config.d_model);
        EXPECT_EQ(std::memcmp(part.data(), whole.data() + from * d, n * d * sizeof(float)), 0) << what << " " << config.d_model;
      };
      // One token at a time.
      const auto alone = cache.open();
      for (std::size_t i = 0; i < ids.size(); ++i)
        same(run(decoder, {{ids[i], alone, static_cast<std::int32_t>(i)}}, cache), i, 1, "token by token");
      // Pieces, other sequences before and behind them, a prefix that another sequence computed.
      const auto parent = cache.open();
      run(decoder, tokens_of({ids.begin(), ids.begin() + 37}, parent), cache);
      const auto child = cache.fork(parent, 33);
      cache.close(parent);
      std::vector<DecodeToken> mixed;
      for (int other = 0; other < 9; ++other) {
        for (const auto& t : tokens_of(some_ids(5, config.d_vocab, 10 + static_cast<std::uint64_t>(other)), cache.open()))
          mixed.push_back(t);
      }
      const auto place = mixed.size();
      for (const auto& t : tokens_of({ids.begin() + 33, ids.end()}, child, 33)) mixed.push_back(t);
      for (const auto& t : tokens_of(some_ids(40, config.d_vocab, 99), cache.open())) mixed.push_back(t);
      const auto rows = run(decoder, mixed, cache);
      same({rows.begin() + static_cast<std::ptrdiff_t>(place) * config.d_model, rows.end()}, 33, ids.size() - 33, "in a batch");
    }
  }
}

// What runs on a GPU runs here in f64, where no kernel is.
TEST(Decoder, WithoutKernelsItEqualsTheForwardHoweverSequencesAreCutAndShared) {
  for (const ModelConfig& config : configs()) {
    at::manual_seed(7);
    const Transformer model{config, testing_tools::random_weights(config)};
    const auto ids = some_ids(70, config.d_vocab, 2);
    TokenBatch batch;
    batch.add(ids);
    const Tensor wanted = model.forward(batch, {}).contiguous();
    Decoder decoder(model, Precision::f32);
    KvCache cache = decoder.new_cache();
    const auto d = static_cast<std::size_t>(config.d_model);
    const auto expect = [&](std::span<const float> rows, std::size_t from, std::size_t n, const char* what) {
      double largest = 0;
      for (std::size_t i = 0; i < n * d; ++i)
        largest = std::max(largest, std::abs(static_cast<double>(rows[i]) - wanted.const_data_ptr<double>()[from * d + i]));
      EXPECT_LT(largest, 1e-5) << what << " " << config.d_model;
    };
    const auto whole = run(decoder, tokens_of(ids, cache.open()), cache);
    expect(whole, 0, ids.size(), "at once");
    const auto parent = cache.open();
    run(decoder, tokens_of({ids.begin(), ids.begin() + 37}, parent), cache);
    const auto child = cache.fork(parent, 33), other = cache.fork(parent, 36);
    cache.close(parent);
    // A prompt, single tokens and the rest of a shared prefix in one pass.
    std::vector<DecodeToken> mixed = tokens_of(some_ids(40, config.d_vocab, 99), cache.open());
    mixed.push_back({ids[36], other, 36});
    const auto place = mixed.size();
    for (const auto& t : tokens_of({ids.begin() + 33, ids.end()}, child, 33)) mixed.push_back(t);
    mixed.push_back({ids[0], cache.open(), 0});
    const auto rows = run(decoder, mixed, cache);
    expect(std::span(rows).subspan((place - 1) * d), 36, 1, "a single token");
    expect(std::span(rows).subspan(place * d), 33, ids.size() - 33, "behind a shared prefix");
    expect(std::span(rows).subspan((mixed.size() - 1) * d), 0, 1, "a new sequence");
    for (std::size_t i = 37; i < ids.size(); ++i)
      expect(run(decoder, {{ids[i], other, static_cast<std::int32_t>(i)}}, cache), i, 1, "token by token");
    const LogitRows logits = decoder.logits(whole, 70);
    const Tensor logprobs = token_logprobs(model, wanted, ids);
    std::vector<float> scored(70);
    decoder.logprobs(whole, ids, scored.data());
    const Tensor all = model.logits(wanted);
    for (std::int64_t i = 0; i < 70; ++i) {
      EXPECT_NEAR(logits[static_cast<std::size_t>(i)][3], all[i][3].item<double>(), 1e-5);
      EXPECT_NEAR(scored[static_cast<std::size_t>(i)], logprobs[i].item<double>(), 1e-5);
    }
  }
}

TEST(Decoder, NamesIdsAndPositionsThatDoNotExist) {
  const ModelConfig config = small_config(1, 32, 2, 2, 16, 32, 20);
  Decoder decoder(model_of(config), Precision::bf16);
  KvCache cache = decoder.new_cache();
  const auto s = cache.open();
  const std::vector<std::int64_t> wanted = {0};
  const auto message = [&](DecodeToken token) -> std::string {
    try {
      decoder.run(std::vector<DecodeToken>{token}, wanted, cache);
      return "";
    } catch (const Error& e) {
      return e.what();
    }
  };
  EXPECT_NE(message({20, s, 0}).find("token id 20"), std::string::npos);
  EXPECT_NE(message({-1, s, 0}).find("token id -1"), std::string::npos);
  EXPECT_NE(message({1, s, 512}).find("512"), std::string::npos);
}

TEST(KvCache, PagesAreSharedUntilTheyAreWrittenAndGivenBack) {
  const ModelConfig config = small_config(1, 32, 2, 2, 16, 32, 20);
  KvCache cache = Decoder(model_of(config), Precision::bf16).new_cache();
  const auto a = cache.open();
  cache.prepare(a, 0, 70);  // three pages
  EXPECT_EQ(cache.used_pages(), 3);
  const auto b = cache.fork(a, 66);
  EXPECT_EQ(cache.used_pages(), 3);
  cache.prepare(b, 66, 67);  // the third is copied
  EXPECT_EQ(cache.used_pages(), 4);
  EXPECT_EQ(cache.pages(a)[1], cache.pages(b)[1]);
  EXPECT_NE(cache.pages(a)[2], cache.pages(b)[2]);
  cache.close(a);
  EXPECT_EQ(cache.used_pages(), 3);
  cache.close(b);
  EXPECT_EQ(cache.used_pages(), 0);
}

}  // namespace
}  // namespace assay
