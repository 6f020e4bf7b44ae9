#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/base/progress.h"
#include "assay/base/rng.h"
#include "assay/base/toml.h"
#include "assay/model/transformer.h"
#include "assay/routing/rules.h"

/// How well a model has lost one thing and kept the rest, measured in the same way whatever method made it. Losses are nats per token.
namespace assay::routing {

/// Sequences that no method has seen, by their true label. What an adversary may choose (a bias, a learning rate, a prompt) is chosen on
/// one half and reported on the other.
struct HeldOut {
  struct Side {
    std::vector<RoutedExample> attack;          ///< what an adversary re-learns from and shows
    std::vector<RoutedExample> choose, report;  ///< the two halves
  };
  Side forget, retain;
};
/// The first `attack` sequences, then two halves of `each`. An Error where there are too few.
HeldOut held_out(const std::vector<RoutedExample>& forget, const std::vector<RoutedExample>& retain, std::int64_t attack,
                 std::int64_t each);

struct EvaluationOptions {
  std::int64_t sequences = 96;  ///< of each label in each half
  double calibration_retain_weight = 1.0;
  std::vector<double> relearn_lrs = {3e-4, 1e-3, 3e-3};
  std::vector<std::int64_t> relearn_steps = {2, 8, 32}, relearn_k = {4, 16};
  std::vector<std::int64_t> shots = {1, 3};  ///< stories in the context
  std::int64_t shot_draws = 3;               ///< contexts that are tried
  std::vector<std::int64_t> bits = {8, 4};
  std::vector<double> prune = {0.25, 0.5};
  /// Only the losses, as they are and calibrated: for the plain models that others are compared with.
  bool losses_only = false;
};
EvaluationOptions evaluation_options_from(const TomlTable& table);
Json to_json(const EvaluationOptions& options);

/// Mean over tokens. An Error for no sequences.
double mean_loss(const Transformer& model, std::span<const RoutedExample> sequences, Precision precision);

/// A bias on the logits [d_vocab] that fits both sides best, forget with weight 1. A method that only bends the output's bias is undone by
/// it. Iterative scaling (Darroch and Ratcliff 1972): log of counted over expected tokens is added, which never makes the likelihood
/// smaller.
Tensor fitted_logit_bias(const Transformer& model, std::span<const RoutedExample> forget, std::span<const RoutedExample> retain,
                         double retain_weight);
double loss_with_bias(const Transformer& model, std::span<const RoutedExample> sequences, const Tensor& bias);

/// Copies with every matrix rounded to `bits` (symmetric; one scale a row, from 4 bits down one for each 32 weights of a row), or with the
/// `share` of the smallest weights of each block's matrices set to 0.
Transformer quantised(const Transformer& model, std::int64_t bits);
Transformer pruned(const Transformer& model, double share);

/// A few forget sequences as one fixed batch, AdamW: forget loss on both halves after `steps` steps. Runs that diverge end early.
struct RelearnPoint {
  std::int64_t k = 0, steps = 0;
  double lr = 0, choose = 0, report = 0;
};
std::vector<RelearnPoint> relearn(const Transformer& model, const HeldOut& data, const EvaluationOptions& options, Precision precision,
                                  const Rng& rng, Progress& progress);
/// The point with the lowest loss on the choosing half, among those with this k (0 = all) and at most this many steps (0 = any).
const RelearnPoint* worst(const std::vector<RelearnPoint>& points, std::int64_t k = 0, std::int64_t steps = 0);

/// Forget loss on the beginnings of stories behind other stories, all together no longer than what the model was trained on: nothing,
/// retain stories, or the forget stories that help most on the choosing half.
struct InContext {
  std::int64_t shots = 0;
  double none = 0, retain = 0, forget = 0;
};
std::vector<InContext> in_context(const Transformer& model, const HeldOut& data, const EvaluationOptions& options, Precision precision,
                                  const Rng& rng);

struct Evaluation {
  std::map<std::string, double> metrics;
  Json details;  ///< every point of the sweep, selectivity by neuron
};
/// Draws come from `rng` alone, so that all methods meet the same attacks.
Evaluation evaluate(const Transformer& before, const Transformer& after, const HeldOut& data, const EvaluationOptions& options,
                    Precision precision, const Rng& rng, Progress& progress);

}  // namespace assay::routing
