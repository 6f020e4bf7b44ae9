#include "assay/model/units.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "assay/base/error.h"

namespace assay {
namespace {

using Indices = std::vector<std::int64_t>;

Indices first(std::int64_t n) {
  Indices out(static_cast<std::size_t>(n));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

/// Units as rows (or columns) of a matrix that holds `width` of them for each.
Tensor rows_of(const Indices& units, std::int64_t width) {
  Indices out;
  for (const std::int64_t u : units)
    for (std::int64_t i = 0; i < width; ++i) out.push_back(u * width + i);
  return at::tensor(out, at::kLong);
}

void take(Tensor& t, std::int64_t dim, const Tensor& order) {
  if (!t.defined()) return;
  at::NoGradGuard guard;
  t.copy_(t.index_select(dim, order.to(t.device())));
}

void check_layer(const Indices& units, std::int64_t n, const std::string& where, const char* what, std::size_t layer) {
  std::set<std::int64_t> seen;
  for (const std::int64_t u : units)
    if (u < 0 || u >= n || !seen.insert(u).second)
      throw Error("units", where + ": " + what + " " + std::to_string(u) + " of layer " + std::to_string(layer) +
                               (u < 0 || u >= n ? " is not there: the layer has " + std::to_string(n) : " is named twice"));
}

}  // namespace

Units Units::none(std::int64_t n_layers) {
  const auto n = static_cast<std::size_t>(n_layers);
  return {std::vector<Indices>(n), std::vector<Indices>(n)};
}

std::int64_t Units::count() const {
  std::size_t n = 0;
  for (const auto* of : {&neurons, &heads})
    for (const Indices& layer : *of) n += layer.size();
  return static_cast<std::int64_t>(n);
}

void check_units(const Units& units, const ModelConfig& config, const std::string& where) {
  for (const auto* of : {&units.neurons, &units.heads})
    if (static_cast<std::int64_t>(of->size()) != config.n_layers)
      throw Error("units",
                  where + " names units of " + std::to_string(of->size()) + " layers, the model has " + std::to_string(config.n_layers));
  for (std::size_t l = 0; l < units.neurons.size(); ++l) {
    check_layer(units.neurons[l], config.d_mlp, where, "neuron", l);
    check_layer(units.heads[l], config.n_heads, where, "head", l);
  }
}

void silence(Hooks& hooks, const Units& units) {
  const auto at_place = [&](std::size_t layer, const char* name, const Indices& which) {
    if (which.empty()) return;
    hooks.replace("blocks." + std::to_string(layer) + name, [index = at::tensor(which, at::kLong)](const Tensor& value) {
      return value.index_fill(1, index.to(value.device()), 0);  // [n_tokens, units, ...]
    });
  };
  for (std::size_t l = 0; l < units.neurons.size(); ++l) {
    at_place(l, ".mlp.hook_post", units.neurons[l]);
    at_place(l, ".attn.hook_z", units.heads[l]);
  }
}

Units shuffle_units(Transformer& model, Rng rng) {
  const ModelConfig& c = model.config;
  Units order = Units::none(c.n_layers);
  const std::int64_t group = c.n_heads / c.n_kv_heads;
  for (std::size_t l = 0; l < model.weights.blocks.size(); ++l) {
    BlockWeights& w = model.weights.blocks[l];
    Indices neurons = first(c.d_mlp), kv = first(c.n_kv_heads), heads;
    rng.shuffle(std::span(neurons));
    rng.shuffle(std::span(kv));
    for (const std::int64_t k : kv) {
      Indices within = first(group);
      rng.shuffle(std::span(within));
      for (const std::int64_t h : within) heads.push_back(k * group + h);
    }
    const Tensor mlp = rows_of(neurons, 1), q = rows_of(heads, c.d_head), k_and_v = rows_of(kv, c.d_head);
    for (Tensor* t : {&w.W_gate, &w.W_in, &w.b_gate, &w.b_in}) take(*t, 0, mlp);
    take(w.W_out, 1, mlp);
    for (Tensor* t : {&w.W_Q, &w.b_Q}) take(*t, 0, q);
    for (Tensor* t : {&w.W_K, &w.W_V, &w.b_K, &w.b_V}) take(*t, 0, k_and_v);
    take(w.W_O, 1, q);
    order.neurons[l] = std::move(neurons);
    order.heads[l] = std::move(heads);
  }
  return order;
}

Units after_shuffle(const Units& units, const Units& order) {
  const auto moved = [](const std::vector<Indices>& of, const std::vector<Indices>& by) {
    std::vector<Indices> out(of.size());
    for (std::size_t l = 0; l < of.size(); ++l) {
      const std::set<std::int64_t> old(of[l].begin(), of[l].end());
      for (std::size_t i = 0; i < by[l].size(); ++i)
        if (old.contains(by[l][i])) out[l].push_back(static_cast<std::int64_t>(i));
    }
    return out;
  };
  return {moved(units.neurons, order.neurons), moved(units.heads, order.heads)};
}

}  // namespace assay
