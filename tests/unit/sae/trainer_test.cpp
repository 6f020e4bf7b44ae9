// Training finds a planted dictionary; a run that was stopped ends with the same bits; the parts around it.
#include "assay/sae/trainer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "../error_of.h"
#include "../train/tiny_model.h"
#include "assay/base/files.h"
#include "assay/sae/evaluate.h"
#include "assay/sae/formats/saelens.h"

namespace assay {
namespace {

/// Sums of a few of 24 directions in 16 dimensions around a far-off centre.
class Planted final : public ActivationSource {
 public:
  Planted() {
    Rng rng(2);
    directions = at::empty({24, 16}, at::kFloat);
    for (std::int64_t i = 0; i < directions.numel(); ++i) directions.data_ptr<float>()[i] = static_cast<float>(rng.normal());
    directions = directions / directions.norm(2, 1, true);
  }
  [[nodiscard]] std::int64_t chunks() const override { return 4; }
  [[nodiscard]] std::int64_t rows(std::int64_t c) const override { return 900 + 50 * c; }
  [[nodiscard]] Tensor chunk(std::int64_t c) override {
    ++asked;
    Rng rng = Rng(3).fork(static_cast<std::uint64_t>(c));
    Tensor codes = at::zeros({rows(c), 24}, at::kFloat);
    for (std::int64_t r = 0; r < rows(c); ++r)
      for (int i = 0; i < 2; ++i)
        codes.data_ptr<float>()[r * 24 + static_cast<std::int64_t>(rng.below(24))] = static_cast<float>(5 + 5 * rng.uniform());
    return at::mm(codes, directions) + 7;
  }
  Tensor directions;
  int asked = 0;
};

SaeTrainOptions small() {
  SaeTrainOptions o;
  o.d_sae = 48, o.k = 2, o.steps = 1500, o.batch = 128, o.dead_after = 20000, o.seed = 5, o.lr = 3e-3;
  return o;
}

TEST(SaeTrainer, FindsAPlantedDictionary) {
  Planted source;
  const SaeTraining trained = train_sae(source, small(), {}, std::nullopt, no_progress());
  EXPECT_GT(trained.explained_variance, 0.9);
  EXPECT_LE(trained.l0, 2);
  EXPECT_GT(trained.l0, 1.5);
  // In the units of the activations, on all of them.
  ReconstructionSums sums;
  for (std::int64_t c = 0; c < source.chunks(); ++c) sums.add(source.chunk(c), trained.sae.reconstruct(source.chunk(c)));
  EXPECT_GT(sums.explained_variance(), 0.9);
  // Most planted directions are some latent's.
  const Tensor norms = trained.sae.W_dec.norm(2, 1);
  EXPECT_NEAR(norms.min().item<double>(), 1, 1e-5);
  EXPECT_NEAR(norms.max().item<double>(), 1, 1e-5);
  const Tensor best = std::get<0>(at::mm(source.directions, trained.sae.W_dec.t()).max(1));
  EXPECT_GE((best > 0.95).sum().item<std::int64_t>(), 18);
}

/// Stops when so many steps are behind.
class StopsAt final : public Progress {
 public:
  explicit StopsAt(std::int64_t checks) : left_(checks) {}
  void begin(std::string_view, std::int64_t, std::string_view) override {}
  void update(std::int64_t, std::string_view) override {}
  void end(std::string_view) override {}
  void note(std::string_view) override {}
  void warn(std::string_view) override {}
  [[nodiscard]] bool stop_requested() const override { return left_-- <= 0; }

 private:
  mutable std::int64_t left_;
};

TEST(SaeTrainer, GoesOnToTheSameBits) {
  const TemporaryFolder folder;
  const fs::path file = folder.path() / "checkpoint.safetensors";
  SaeTrainOptions o = small();
  o.steps = 60, o.dead_after = 500;
  Planted source;
  const SaeTraining whole = train_sae(source, o, {{"data", 1}}, std::nullopt, no_progress());
  StopsAt stop(33);
  EXPECT_THROW(train_sae(source, o, {{"data", 1}}, file, stop), Interrupted);
  source.asked = 0;
  const SaeTraining rest = train_sae(source, o, {{"data", 1}}, file, no_progress());
  EXPECT_LE(source.asked, 6);  // chunks that lie behind are not made again
  for (const auto part : {&Sae::W_enc, &Sae::b_enc, &Sae::W_dec, &Sae::b_dec}) EXPECT_TRUE(at::equal(whole.sae.*part, rest.sae.*part));
  EXPECT_EQ(whole.explained_variance, rest.explained_variance);
  EXPECT_TRUE(contains(error_of([&] { train_sae(source, o, {{"data", 2}}, file, no_progress()); }), "data.data: 1 in the folder, 2 asked"));
}

TEST(SaeTrainer, GeometricMedianResistsOutliers) {
  Tensor rows = at::zeros({9, 2}, at::kFloat);
  for (std::int64_t i = 0; i < 8; ++i)
    rows[i][0] = std::cos(0.7853981633974483 * static_cast<double>(i)), rows[i][1] = std::sin(0.7853981633974483 * static_cast<double>(i));
  rows[8][0] = 1e6;
  const Tensor median = geometric_median(rows, 500);
  EXPECT_LT(median.norm().item<double>(), 0.5);
  EXPECT_GT(rows.mean(0).norm().item<double>(), 1e5);
}

TEST(SaelensFolder, RoundTripAndFaults) {
  const TemporaryFolder folder;
  Planted source;
  SaeTrainOptions o = small();
  o.steps = 3;
  SaeTraining trained = train_sae(source, o, {}, std::nullopt, no_progress());
  trained.sae.config.hook_name = "blocks.0.hook_resid_post";
  save_saelens(folder.path() / "sae", trained.sae);
  const Sae loaded = load_saelens(folder.path() / "sae");
  EXPECT_TRUE(at::equal(loaded.W_enc, trained.sae.W_enc) && at::equal(loaded.W_dec, trained.sae.W_dec));
  EXPECT_EQ(loaded.config.k, 2);
  EXPECT_EQ(loaded.config.hook_name, "blocks.0.hook_resid_post");
  const fs::path cfg = folder.path() / "sae" / "cfg.json";
  EXPECT_EQ(read_json(cfg)["metadata"]["sae_lens_version"].get<std::string>().substr(0, 2), "6.");
  const auto with = [&](const char* key, const Json& value) {
    Json json = read_json(cfg);
    const Json was = json;
    json[key] = value;
    write_json(cfg, json);
    const std::string error = error_of([&] { (void)load_saelens(folder.path() / "sae"); });
    write_json(cfg, was);
    return error;
  };
  EXPECT_TRUE(contains(with("architecture", "gated"), "'gated'"));
  EXPECT_TRUE(contains(with("normalize_activations", "layer_norm"), "layer_norm"));
  EXPECT_TRUE(contains(with("d_sae", 47), "W_enc has the shape [16, 48]"));
  EXPECT_TRUE(contains(with("k", 0), "k is 0"));
  EXPECT_TRUE(contains(with("d_in", -1), "d_in is -1"));
  EXPECT_TRUE(contains(error_of([&] { (void)loaded.encode(at::zeros({3, 15})); }), "width 15"));
}

TEST(SaeEvaluation, OfAModel) {
  const Transformer model = testing_tools::tiny_model();
  std::vector<std::vector<TokenId>> sequences;
  for (const Example& e : testing_tools::counting_examples(200)) sequences.push_back(e.ids);
  const std::string hook = middle_hook(2);
  EXPECT_EQ(hook, "blocks.0.hook_resid_post");
  ModelActivations source(model, sequences, hook, 300, Precision::f32, 1);
  std::int64_t rows = 0;
  for (std::int64_t c = 0; c < source.chunks(); ++c) {
    EXPECT_EQ(source.chunk(c).size(0), source.rows(c));
    rows += source.rows(c);
  }
  std::int64_t positions = 0;
  for (const auto& s : sequences) positions += static_cast<std::int64_t>(s.size()) - 1;
  EXPECT_EQ(rows, positions);
  EXPECT_TRUE(at::equal(source.chunk(1), source.chunk(1)));

  SaeTrainOptions o;
  o.d_sae = 64, o.k = 16, o.steps = 600, o.batch = 256, o.lr = 3e-3;
  const SaeTraining good = train_sae(source, o, {}, std::nullopt, no_progress());
  const SaeEvaluation e = evaluate_sae(good.sae, model, sequences, hook, 0, Precision::f32, no_progress());
  EXPECT_EQ(e.tokens, positions);
  EXPECT_GT(e.explained_variance, 0.95);
  EXPECT_NEAR(e.ce_sae, e.ce_clean, 0.2 * std::abs(e.ce_zero - e.ce_clean) + 0.01);
  EXPECT_GT(e.kl_score(), 0.8);
  EXPECT_LE(e.l0, 16);
  // An SAE that writes nothing but zeros is the ablation.
  Sae zero = good.sae;
  zero.W_dec = at::zeros_like(zero.W_dec);
  zero.b_dec = at::zeros_like(zero.b_dec);
  const SaeEvaluation nothing = evaluate_sae(zero, model, sequences, hook, 0, Precision::f32, no_progress());
  EXPECT_NEAR(nothing.ce_sae, nothing.ce_zero, 1e-6);
  EXPECT_NEAR(nothing.kl_score(), 0, 1e-6);
  EXPECT_LE(nothing.explained_variance, 0.05);
}

TEST(SaeEvaluation, TheMeanExplainsNothing) {
  const Tensor x = at::arange(30, at::kFloat).reshape({10, 3}) + 1e4;
  ReconstructionSums mean, exact;
  for (std::int64_t i = 0; i < 10; i += 5) {
    mean.add(x.slice(0, i, i + 5), x.mean(0).expand({5, 3}));
    exact.add(x.slice(0, i, i + 5), x.slice(0, i, i + 5));
  }
  EXPECT_NEAR(mean.explained_variance(), 0, 1e-5);
  EXPECT_EQ(exact.explained_variance(), 1);
}

}  // namespace
}  // namespace assay
