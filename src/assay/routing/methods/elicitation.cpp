// Attacks that learn or prompt: re-learning from a few sequences, stories in the context.
#include <algorithm>
#include <cmath>

#include "assay/base/error.h"
#include "assay/routing/methods/evaluation.h"
#include "assay/routing/methods/fit.h"

namespace assay::routing {
namespace {

/// `count` of the sequences, drawn without replacement.
std::vector<RoutedExample> drawn(const std::vector<RoutedExample>& from, std::int64_t count, Rng rng) {
  if (static_cast<std::int64_t>(from.size()) < count)
    throw Error("evaluation", std::to_string(count) + " sequences are to be drawn for an attack, there are " + std::to_string(from.size()),
                "hold out more");
  std::vector<std::size_t> order(from.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  rng.shuffle(std::span(order));
  std::vector<RoutedExample> some;
  for (std::int64_t i = 0; i < count; ++i) some.push_back(from[order[static_cast<std::size_t>(i)]]);
  return some;
}

/// The beginnings of the context's stories and of the story that is measured, each with its BOS, no longer than half / shots and half.
std::vector<RoutedExample> with_context(const std::vector<RoutedExample>& sequences, const std::vector<RoutedExample>& context,
                                        std::int64_t half) {
  std::vector<RoutedExample> prompts;
  for (const RoutedExample& sequence : sequences) {
    Example e;
    const auto append = [&](const RoutedExample& story, std::int64_t most, float weight) {
      const auto n = std::min<std::ptrdiff_t>(most, static_cast<std::ptrdiff_t>(story.example.ids.size()));
      e.ids.insert(e.ids.end(), story.example.ids.begin(), story.example.ids.begin() + n);
      e.weights.resize(e.ids.size(), weight);
      e.weights[e.ids.size() - static_cast<std::size_t>(n)] = 0;  // the BOS
    };
    for (const RoutedExample& shot : context) append(shot, half / static_cast<std::int64_t>(context.size()), 0.0F);
    append(sequence, half, 1.0F);
    prompts.push_back({std::move(e), sequence.label, {}});
  }
  return prompts;
}

std::int64_t longest(const std::vector<RoutedExample>& sequences) {
  std::size_t most = 0;
  for (const RoutedExample& s : sequences) most = std::max(most, s.example.ids.size());
  return static_cast<std::int64_t>(most);
}

}  // namespace

std::vector<RelearnPoint> relearn(const Transformer& model, const HeldOut& data, const EvaluationOptions& options, Precision precision,
                                  const Rng& rng, Progress& progress) {
  std::vector<RelearnPoint> points;
  const auto last = *std::max_element(options.relearn_steps.begin(), options.relearn_steps.end());
  std::int64_t done = 0;
  progress.begin("re-learn", static_cast<std::int64_t>(options.relearn_k.size() * options.relearn_lrs.size()), "runs");
  for (const std::int64_t k : options.relearn_k) {
    // The same for every learning rate and method.
    const std::vector<RoutedExample> batch = drawn(data.forget.attack, k, rng.fork(static_cast<std::uint64_t>(k)));
    for (const double lr : options.relearn_lrs) {
      Transformer victim = model.clone();
      fit_batch(victim, batch, {.steps = last, .lr = lr, .precision = precision}, [&](std::int64_t steps) {
        if (std::count(options.relearn_steps.begin(), options.relearn_steps.end(), steps) == 0) return true;
        RelearnPoint point{k, steps, lr, 0, 0};
        point.choose = mean_loss(victim, data.forget.choose, precision);
        point.report = mean_loss(victim, data.forget.report, precision);
        if (!std::isfinite(point.choose + point.report)) return false;
        points.push_back(point);
        return true;
      });
      progress.update(++done);
      if (progress.stop_requested()) throw Interrupted("evaluation");
    }
  }
  progress.end();
  return points;
}

const RelearnPoint* worst(const std::vector<RelearnPoint>& points, std::int64_t k, std::int64_t steps) {
  const RelearnPoint* lowest = nullptr;
  for (const RelearnPoint& p : points) {
    if ((k > 0 && p.k != k) || (steps > 0 && p.steps > steps)) continue;
    if (!lowest || p.choose < lowest->choose) lowest = &p;
  }
  return lowest;
}

std::vector<InContext> in_context(const Transformer& model, const HeldOut& data, const EvaluationOptions& options, Precision precision,
                                  const Rng& rng) {
  const auto half = std::min(longest(data.forget.attack), model.config.n_ctx) / 2;
  if (half < 4 || std::any_of(options.shots.begin(), options.shots.end(), [&](std::int64_t n) { return half / n < 2; }))
    throw Error("evaluation", "the sequences are too short for stories in the context", "leave [evaluation] shots = [] empty");
  const auto loss = [&](const std::vector<RoutedExample>& sequences, const std::vector<RoutedExample>& context) {
    return mean_loss(model, with_context(sequences, context, half), precision);
  };
  std::vector<InContext> all;
  for (const std::int64_t shots : options.shots) {
    InContext c{shots, loss(data.forget.report, {}), 0, 0};
    // The attacker takes the draw that does most on the choosing half; so does the control.
    const auto best = [&](const std::vector<RoutedExample>& from, const char* name) {
      double lowest = INFINITY;
      std::vector<RoutedExample> taken;
      for (std::int64_t d = 0; d < options.shot_draws; ++d) {
        const auto context = drawn(from, shots, rng.fork(name).fork(static_cast<std::uint64_t>(shots)).fork(static_cast<std::uint64_t>(d)));
        const double here = loss(data.forget.choose, context);
        if (here < lowest) lowest = here, taken = context;
      }
      return loss(data.forget.report, taken);
    };
    c.retain = best(data.retain.attack, "retain");
    c.forget = best(data.forget.attack, "forget");
    all.push_back(c);
  }
  return all;
}

}  // namespace assay::routing
