#include "assay/sae/trainer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numeric>

#include "assay/base/files.h"
#include "assay/sae/topk_gradients.h"
#include "assay/train/adamw.h"
#include "assay/train/run_state.h"

namespace assay {
namespace {

constexpr std::int64_t kMedianRows = 8192;

double rate_at(const SaeTrainOptions& o, std::int64_t step) {
  const double peak = o.lr > 0 ? o.lr : 8e-4 / std::sqrt(static_cast<double>(o.d_sae) / 16384.0);
  const double t = static_cast<double>(step) + 0.5, n = static_cast<double>(o.steps);
  const double up = o.warmup_share > 0 ? t / (o.warmup_share * n) : 1.0, down = o.decay_share > 0 ? (n - t) / (o.decay_share * n) : 1.0;
  return peak * std::min({1.0, up, down});
}

Sae random_sae(std::int64_t d_in, const SaeTrainOptions& o, const Tensor& b_dec) {
  Sae sae;
  sae.config.d_in = d_in;
  sae.config.d_sae = o.d_sae;
  sae.config.k = o.k;
  sae.config.validate();
  sae.W_dec = at::empty({o.d_sae, d_in}, at::kFloat);
  Rng rng = Rng(o.seed).fork("decoder");
  for (float* w = sae.W_dec.data_ptr<float>(); w != sae.W_dec.data_ptr<float>() + sae.W_dec.numel(); ++w)
    *w = static_cast<float>(rng.normal());
  sae.W_dec.div_(sae.W_dec.norm(2, 1, /*keepdim=*/true));
  sae.W_enc = sae.W_dec.clone();
  sae.b_enc = at::zeros({o.d_sae}, at::kFloat);
  sae.b_dec = b_dec.clone();
  return sae;
}

/// Batches of mixed rows: chunk after chunk in an order that each epoch draws anew; rows of a chunk that do not fill a batch are left out.
class Batches {
 public:
  Batches(ActivationSource& source, std::int64_t batch, std::uint64_t seed) : source_(source), batch_(batch), seed_(seed) {}
  /// Of step `s`; steps are asked for in order, from any on.
  Tensor at_step(std::int64_t s) {
    while (s >= before_ + steps_of(next_)) {
      before_ += steps_of(next_);
      ++next_;
      rows_ = Tensor();
    }
    if (!rows_.defined()) load();
    const std::int64_t begin = (s - before_) * batch_;
    return rows_.slice(0, begin, std::min(begin + batch_, rows_.size(0)));
  }

 private:
  /// The chunk that is number `next` of all epochs.
  std::int64_t chunk_of(std::int64_t next) {
    const std::int64_t n = source_.chunks();
    if (order_.empty() || epoch_ != next / n) {
      epoch_ = next / n;
      order_.resize(static_cast<std::size_t>(n));
      std::iota(order_.begin(), order_.end(), 0);
      Rng(seed_).fork("epochs").fork(static_cast<std::uint64_t>(epoch_)).shuffle(std::span(order_));
    }
    return order_[static_cast<std::size_t>(next % n)];
  }
  std::int64_t steps_of(std::int64_t next) { return std::max<std::int64_t>(1, source_.rows(chunk_of(next)) / batch_); }
  void load() {
    rows_ = source_.chunk(chunk_of(next_));
    std::vector<std::int64_t> mixed(static_cast<std::size_t>(rows_.size(0)));
    std::iota(mixed.begin(), mixed.end(), 0);
    Rng(seed_).fork("rows").fork(static_cast<std::uint64_t>(next_)).shuffle(std::span(mixed));
    rows_ = rows_.index_select(0, at::tensor(mixed, at::kLong));
  }
  ActivationSource& source_;
  std::int64_t batch_;
  std::uint64_t seed_;
  std::int64_t next_ = 0, before_ = 0;  // number of the chunk over all epochs, and of the steps before it
  std::int64_t epoch_ = 0;
  std::vector<std::int64_t> order_;  // of the chunks in that epoch
  Tensor rows_;
};

}  // namespace

Json to_json(const SaeTrainOptions& o) {
  return {{"d_sae", o.d_sae},
          {"k", o.k},
          {"steps", o.steps},
          {"batch", o.batch},
          {"lr", o.lr},
          {"warmup_share", o.warmup_share},
          {"decay_share", o.decay_share},
          {"aux_coefficient", o.aux_coefficient},
          {"dead_after", o.dead_after},
          {"clip_norm", o.clip_norm},
          {"seed", o.seed}};
}

Tensor geometric_median(const Tensor& rows, int iterations) {
  const Tensor x = rows.to(at::kDouble);
  Tensor point = x.mean(0);
  for (int i = 0; i < iterations; ++i) {
    const Tensor weights = (x - point).norm(2, 1).clamp_min(1e-12).reciprocal();
    const Tensor next = at::mv(x.t(), weights) / weights.sum();
    const bool there = (next - point).norm().item<double>() <= 1e-9 * (1 + point.norm().item<double>());
    point = next;
    if (there) break;
  }
  return point.to(rows.dtype());
}

SaeTraining train_sae(ActivationSource& source, const SaeTrainOptions& options, const Json& identity,
                      const std::optional<std::filesystem::path>& checkpoint, Progress& progress) {
  if (options.steps < 1 || options.batch < 1) throw Error("sae train", "steps and batch must be positive");
  const double cpu_before = cpu_seconds();
  const Tensor first = source.chunk(0);
  const std::int64_t d_in = first.size(1);
  const double norm = first.norm(2, 1).mean().item<double>();
  if (!std::isfinite(norm) || norm <= 0) throw Error("sae train", "the activations' mean norm is " + std::to_string(norm));
  const double scale = std::sqrt(static_cast<double>(d_in)) / norm;
  Sae sae = random_sae(d_in, options, geometric_median(first.slice(0, 0, std::min(kMedianRows, first.size(0))) * scale));
  AdamW adam({{.name = "W_enc", .value = sae.W_enc},
              {.name = "b_enc", .value = sae.b_enc},
              {.name = "W_dec", .value = sae.W_dec},
              {.name = "b_dec", .value = sae.b_dec}},
             {.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0});
  const NamedTensors weights = {{"W_enc", sae.W_enc}, {"b_enc", sae.b_enc}, {"W_dec", sae.W_dec}, {"b_dec", sae.b_dec}};
  Tensor since_fired = at::zeros({options.d_sae}, at::kLong);
  RunState state;
  const Json who = {{"options", to_json(options)}, {"data", identity}};
  if (checkpoint && fs::exists(*checkpoint)) {
    Checkpoint saved = load_checkpoint(*checkpoint);
    if (const auto different = differences(saved.identity, who); !different.empty())
      throw Error("sae train", checkpoint->string() + " is of another run: " + different.front(), "choose another --out");
    for (const auto& [name, tensor] : weights) tensor.copy_(saved.weights.at(name));
    since_fired.copy_(saved.optimizer.at("since_fired"));
    saved.optimizer.erase("since_fired");
    adam.load_state(saved.optimizer);
    state = saved.state;
    progress.note("going on at step " + std::to_string(state.step));
  }
  const auto save = [&] {
    if (!checkpoint) return;
    NamedTensors moments = adam.state();
    moments["since_fired"] = since_fired;
    save_checkpoint(*checkpoint, {state, who, weights, moments});
  };

  Batches batches(source, options.batch, options.seed);
  std::vector<std::uint8_t> dead(static_cast<std::size_t>(options.d_sae));
  const auto n_dead = [&] { return std::count_if(dead.begin(), dead.end(), [](auto is) { return is != 0; }); };
  const auto mark_dead = [&] {
    for (std::int64_t j = 0; j < options.d_sae; ++j)
      dead[static_cast<std::size_t>(j)] = since_fired.const_data_ptr<std::int64_t>()[j] >= options.dead_after;
  };
  progress.begin("sae", options.steps, "steps");
  while (state.step < options.steps) {
    if (progress.stop_requested()) {
      save();
      throw Interrupted("sae train");
    }
    mark_dead();
    const Tensor x = batches.at_step(state.step) * scale;
    const TopKGradients g = topk_gradients(sae, x, dead, options.aux_coefficient);
    for (auto& p : adam.parameters()) {
      Tensor value = p.value;
      value.mutable_grad() = p.name == "W_enc"   ? g.W_enc
                             : p.name == "b_enc" ? g.b_enc
                             : p.name == "b_dec" ? g.b_dec
                                                 : g.W_dec - sae.W_dec * (g.W_dec * sae.W_dec).sum(1, /*keepdim=*/true);
    }
    const double length = adam.gradient_norm();
    adam.step(rate_at(options, state.step), options.clip_norm > 0 ? std::min(1.0, options.clip_norm / (length + 1e-6)) : 1.0);
    adam.zero_grad();
    sae.W_dec.div_(sae.W_dec.norm(2, 1, /*keepdim=*/true));
    auto* since = since_fired.data_ptr<std::int64_t>();
    for (std::int64_t j = 0; j < options.d_sae; ++j) since[j] = g.fired[static_cast<std::size_t>(j)] ? 0 : since[j] + x.size(0);
    ++state.step;
    state.tokens += x.size(0);
    state.history["mse"].push_back(g.mse);
    state.history["variance"].push_back(g.variance);
    state.history["l0"].push_back(static_cast<double>(g.active) / static_cast<double>(x.size(0)));
    if (!std::isfinite(g.mse)) throw Error("sae train", "the loss is no number at step " + std::to_string(state.step), "use a lower --lr");
    if (state.step % 20 == 0 || state.step == options.steps) {
      char text[80];
      std::snprintf(text, sizeof text, "explained %.4f  dead %lld", 1 - g.mse / g.variance, static_cast<long long>(n_dead()));
      progress.update(state.step, text);
    }
    if (state.step % options.checkpoint_every == 0 || state.step == options.steps) save();
  }
  progress.end();

  SaeTraining out;
  const auto tail = [&](const std::string& name) {
    const auto& all = state.history.at(name);
    const std::size_t n = std::max<std::size_t>(1, all.size() / 10);
    return std::accumulate(all.end() - static_cast<std::ptrdiff_t>(n), all.end(), 0.0) / static_cast<double>(n);
  };
  mark_dead();
  // The k largest of s (x - b) W + c are those of (x - b) W + c/s, s times as large.
  sae.b_enc.div_(scale);
  sae.b_dec.div_(scale);
  out.sae = std::move(sae);
  out.steps = state.step;
  out.rows = state.tokens;
  out.explained_variance = 1 - tail("mse") / tail("variance");
  out.l0 = tail("l0");
  out.dead = static_cast<double>(n_dead()) / static_cast<double>(options.d_sae);
  out.cpu_s = cpu_seconds() - cpu_before;
  return out;
}

}  // namespace assay
