#include "assay/routing/methods/evaluation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "assay/base/error.h"
#include "assay/base/stats.h"
#include "assay/routing/methods/fit.h"
#include "assay/routing/selectivity.h"
#include "assay/train/objectives/lm_batch.h"

namespace assay::routing {
namespace {

constexpr std::int64_t kLossBatch = 4096;               // tokens of a pass
constexpr std::int64_t kCalibrationLogits = 1LL << 24;  // logits of each side that the bias is fitted on
constexpr int kScalingRounds = 25;
constexpr double kPseudoTokens = 4;  // counted and expected of each token beforehand: what is seldom seen moves little

/// visit(batch) over sequences in batches.
template <class Visit>
void each_batch(std::span<const RoutedExample> sequences, const Visit& visit) {
  for (std::size_t i = 0; i < sequences.size();) {
    LmBatch batch;
    do {
      batch.add(sequences[i++].example);
    } while (i < sequences.size() && batch.tokens.n_tokens() + static_cast<std::int64_t>(sequences[i].example.ids.size()) <= kLossBatch);
    visit(batch);
  }
}

/// Rows of the final residual stream that predict a token, and which.
struct Predictions {
  Tensor hidden;   // [n, d_model]
  Tensor targets;  // [n] int64
};
Predictions predictions(const Transformer& model, const LmBatch& batch) {
  const Tensor hidden = model.forward(batch.tokens);
  std::vector<std::int64_t> rows, targets;
  for (std::size_t i = 0; i < batch.targets.size(); ++i) {
    if (batch.weights[i] <= 0) continue;
    rows.push_back(static_cast<std::int64_t>(i));
    targets.push_back(batch.targets[i]);
  }
  return {hidden.index_select(0, at::tensor(rows, at::kLong)), at::tensor(targets, at::kLong)};
}

/// Logits of the first sequences, as many as fit, and the tokens that came.
struct Side {
  Tensor logits, counts;  // [n, d_vocab], [d_vocab]
  double n = 0;
};
Side calibration_side(const Transformer& model, std::span<const RoutedExample> sequences) {
  const std::int64_t most = std::max<std::int64_t>(256, kCalibrationLogits / model.config.d_vocab);
  std::vector<Tensor> logits;
  Side side{{}, at::zeros({model.config.d_vocab}, at::kFloat), 0};
  each_batch(sequences, [&](const LmBatch& batch) {
    const std::int64_t left = most - static_cast<std::int64_t>(side.n);
    if (left <= 0) return;
    Predictions p = predictions(model, batch);
    const auto n = std::min(left, p.hidden.size(0));
    logits.push_back(model.logits(p.hidden.narrow(0, 0, n)));
    side.counts.index_add_(0, p.targets.narrow(0, 0, n), at::ones({n}, at::kFloat));
    side.n += static_cast<double>(n);
  });
  side.logits = at::cat(logits);
  return side;
}

}  // namespace

HeldOut held_out(const std::vector<RoutedExample>& forget, const std::vector<RoutedExample>& retain, std::int64_t attack,
                 std::int64_t each) {
  const auto side = [&](const std::vector<RoutedExample>& all, const char* label) {
    const auto needed = attack + 2 * each;
    if (each < 1 || static_cast<std::int64_t>(all.size()) < needed)
      throw Error("evaluation",
                  fmt::format("{} held-out {} sequences, {} are needed ({} for attacks, two halves of {})", all.size(), label, needed,
                              attack, each),
                  "hold out more, or lower [evaluation] sequences");
    const auto at = [&](std::int64_t i) { return all.begin() + i; };
    return HeldOut::Side{{at(0), at(attack)}, {at(attack), at(attack + each)}, {at(attack + each), at(needed)}};
  };
  return {side(forget, "forget"), side(retain, "retain")};
}

EvaluationOptions evaluation_options_from(const TomlTable& table) {
  EvaluationOptions o;
  const auto whole = [&](const char* key, std::vector<std::int64_t>& to, double lowest) {
    if (!table.has(key)) return;
    to.clear();
    for (const double value : table.numbers(key)) {
      if (!(value >= lowest) || value != std::floor(value))
        throw Error("evaluation", fmt::format("{}: {} holds {}, expected whole numbers from {} on", table.where(), key, value, lowest));
      to.push_back(static_cast<std::int64_t>(value));
    }
  };
  const auto reals = [&](const char* key, std::vector<double>& to, double highest) {
    if (table.has(key)) to = table.numbers(key);
    for (const double value : to)
      if (!(value > 0 && value < highest))
        throw Error("evaluation",
                    fmt::format("{}: {} holds {}, expected numbers above 0 and below {}", table.where(), key, value, highest));
  };
  o.sequences = table.integer("sequences", o.sequences);
  o.calibration_retain_weight = table.number("calibration_retain_weight", o.calibration_retain_weight);
  reals("relearn_lrs", o.relearn_lrs, 10);
  whole("relearn_steps", o.relearn_steps, 1), whole("relearn_k", o.relearn_k, 1), whole("shots", o.shots, 1), whole("bits", o.bits, 2);
  reals("prune", o.prune, 1);
  o.shot_draws = table.integer("shot_draws", o.shot_draws);
  if (o.sequences < 1 || o.shot_draws < 1 || !(o.calibration_retain_weight > 0))
    throw Error("evaluation", table.where() + ": sequences, shot_draws and calibration_retain_weight must be above 0");
  if (o.relearn_lrs.empty() || o.relearn_steps.empty() || o.relearn_k.empty())
    throw Error("evaluation", table.where() + ": relearn_lrs, relearn_steps and relearn_k must not be empty");
  table.done();
  return o;
}

Json to_json(const EvaluationOptions& o) {
  Json json;
  json["sequences"] = o.sequences, json["calibration_retain_weight"] = o.calibration_retain_weight;
  json["relearn_lrs"] = o.relearn_lrs, json["relearn_steps"] = o.relearn_steps, json["relearn_k"] = o.relearn_k;
  json["shots"] = o.shots, json["shot_draws"] = o.shot_draws, json["bits"] = o.bits, json["prune"] = o.prune;
  return json;
}

double mean_loss(const Transformer& model, std::span<const RoutedExample> sequences, Precision precision) {
  if (sequences.empty()) throw Error("evaluation", "there are no sequences to measure on");
  return corpus_loss(model, sequences, precision);
}

Tensor fitted_logit_bias(const Transformer& model, std::span<const RoutedExample> forget, std::span<const RoutedExample> retain,
                         double retain_weight) {
  const at::NoGradGuard no_grad;
  const Side sides[] = {calibration_side(model, forget), calibration_side(model, retain)};
  const double weights[] = {1.0, retain_weight};
  const double pseudo = kPseudoTokens * (weights[0] + weights[1]) / (sides[0].n + sides[1].n);
  const Tensor counted = sides[0].counts * (weights[0] / sides[0].n) + sides[1].counts * (weights[1] / sides[1].n) + pseudo;
  Tensor bias = at::zeros({model.config.d_vocab}, at::kFloat);
  for (int round = 0; round < kScalingRounds; ++round) {
    Tensor expected = at::full_like(bias, pseudo);
    for (int s = 0; s < 2; ++s) expected += at::softmax(sides[s].logits + bias, 1).sum(0) * (weights[s] / sides[s].n);
    bias += (counted / expected).log();
  }
  return bias;
}

double loss_with_bias(const Transformer& model, std::span<const RoutedExample> sequences, const Tensor& bias) {
  const at::NoGradGuard no_grad;
  double sum = 0, n = 0;
  each_batch(sequences, [&](const LmBatch& batch) {
    const Predictions p = predictions(model, batch);
    const Tensor logprobs = at::log_softmax(model.logits(p.hidden) + bias, 1);
    sum -= logprobs.gather(1, p.targets.unsqueeze(1)).sum(at::kDouble).item<double>();
    n += static_cast<double>(p.targets.numel());
  });
  return sum / n;
}

Transformer quantised(const Transformer& model, std::int64_t bits) {
  const at::NoGradGuard no_grad;
  Transformer copy = model.clone();
  const double top = std::pow(2.0, static_cast<double>(bits - 1)) - 1;
  copy.each_parameter([&](const std::string&, Tensor& value) {
    if (value.dim() != 2) return;
    const auto columns = value.size(1);
    const Tensor groups = value.view({-1, bits <= 4 && columns % 32 == 0 ? 32 : columns});
    const Tensor scale = groups.abs().amax(1, true).clamp_min(1e-12) / top;
    value.copy_(((groups / scale).round() * scale).view_as(value));
  });
  return copy;
}

Transformer pruned(const Transformer& model, double share) {
  const at::NoGradGuard no_grad;
  Transformer copy = model.clone();
  for (BlockWeights& b : copy.weights.blocks) {
    for (Tensor* w : {&b.W_Q, &b.W_K, &b.W_V, &b.W_O, &b.W_gate, &b.W_in, &b.W_out}) {
      if (!w->defined()) continue;
      const auto n = static_cast<std::int64_t>(share * static_cast<double>(w->numel()));
      if (n < 1) continue;
      const Tensor size = w->abs();
      const Tensor threshold = std::get<0>(size.flatten().kthvalue(n));
      w->masked_fill_(size <= threshold, 0.0);
    }
  }
  return copy;
}

Evaluation evaluate(const Transformer& before, const Transformer& after, const HeldOut& data, const EvaluationOptions& options,
                    Precision precision, const Rng& rng, Progress& progress) {
  Evaluation e;
  const auto losses = [&](const std::string& name, const Transformer& model) {
    e.metrics[name + "forget"] = mean_loss(model, data.forget.report, precision);
    e.metrics[name + "retain"] = mean_loss(model, data.retain.report, precision);
  };
  losses("before.", before);
  losses("", after);
  for (const auto& [name, value] : e.metrics)
    if (!std::isfinite(value))
      throw Error("evaluation", fmt::format("the loss {} is {}", name, value), "the training diverged: lower its lr");
  const Tensor bias = fitted_logit_bias(after, data.forget.choose, data.retain.choose, options.calibration_retain_weight);
  e.metrics["calibrated.forget"] = loss_with_bias(after, data.forget.report, bias);
  e.metrics["calibrated.retain"] = loss_with_bias(after, data.retain.report, bias);
  if (options.losses_only) return e;

  for (const std::int64_t bits : options.bits) losses(fmt::format("int{}.", bits), quantised(after, bits));
  for (const double share : options.prune) losses(fmt::format("prune{:.0f}.", 100 * share), pruned(after, share));

  const auto points = relearn(after, data, options, precision, rng.fork("relearn"), progress);
  Json sweep = Json::array();
  for (const RelearnPoint& p : points) {
    Json point;
    point["k"] = p.k, point["lr"] = p.lr, point["steps"] = p.steps, point["choose"] = number(p.choose), point["report"] = number(p.report);
    sweep.push_back(point);
  }
  e.details["relearn"] = sweep;
  // Not to re-learn at all is one of the attacker's choices.
  const double as_it_is = mean_loss(after, data.forget.choose, precision);
  const auto after_attack = [&](std::int64_t k, std::int64_t steps) {
    const RelearnPoint* p = worst(points, k, steps);
    return p && p->choose < as_it_is ? p->report : e.metrics["forget"];
  };
  e.metrics["relearn.forget"] = after_attack(0, 0);
  for (const std::int64_t k : options.relearn_k) e.metrics[fmt::format("relearn.k{}.forget", k)] = after_attack(k, 0);
  for (const std::int64_t steps : options.relearn_steps) e.metrics[fmt::format("relearn.steps{}.forget", steps)] = after_attack(0, steps);

  for (const InContext& c : in_context(after, data, options, precision, rng.fork("context"))) {
    e.metrics["context.none"] = c.none;
    e.metrics[fmt::format("context.retain{}", c.shots)] = c.retain;
    e.metrics[fmt::format("context.forget{}", c.shots)] = c.forget;
  }

  std::vector<RoutedExample> both = data.forget.report;
  both.insert(both.end(), data.retain.report.begin(), data.retain.report.end());
  const Selectivity s = selectivity(before, both, "forget", precision, progress);
  Json by_layer = Json::array();
  for (std::size_t l = 0; l < s.own.size(); ++l) {
    Json ratios = Json::array();
    for (std::size_t n = 0; n < s.own[l].size(); ++n) ratios.push_back(number(std::round(1e3 * s.own[l][n] / s.other[l][n]) / 1e3));
    by_layer.push_back(ratios);
  }
  e.details["selectivity"] = by_layer;
  const auto old = after.config.d_mlp, all = before.config.d_mlp;
  if (old < all) {  // what the removal took
    double removed = 0, kept = 0;
    for (std::size_t l = 0; l < s.own.size(); ++l) removed += s.ratio(l, old, all), kept += s.ratio(l, 0, old);
    e.metrics["selectivity.removed"] = removed / static_cast<double>(s.own.size());
    e.metrics["selectivity.kept"] = kept / static_cast<double>(s.own.size());
  }
  return e;
}

}  // namespace assay::routing
