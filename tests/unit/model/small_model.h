#pragma once
#include <ATen/ATen.h>

#include <vector>

#include "assay/model/transformer.h"

namespace assay::testing_tools {

inline ModelConfig small_config(std::int64_t n_layers, std::int64_t d_model, std::int64_t n_heads, std::int64_t n_kv_heads,
                                std::int64_t d_head, std::int64_t d_mlp, std::int64_t d_vocab) {
  ModelConfig c;
  c.n_layers = n_layers, c.d_model = d_model, c.n_heads = n_heads, c.n_kv_heads = n_kv_heads, c.d_head = d_head, c.d_mlp = d_mlp,
  c.d_vocab = d_vocab;
  c.n_ctx = 512;
  return c;
}

/// GPT-2's shape; GPT-Neo's with windows and the scale 1.
inline ModelConfig small_gpt(std::int64_t n_layers, std::int64_t d_model, std::int64_t n_heads, std::int64_t d_mlp, std::int64_t d_vocab,
                             Activation activation = Activation::gelu_tanh) {
  ModelConfig c = small_config(n_layers, d_model, n_heads, n_heads, d_model / n_heads, d_mlp, d_vocab);
  c.norm = Norm::layer, c.gated_mlp = false, c.positions = Positions::learned, c.activation = activation;
  c.attn_bias = c.attn_out_bias = c.mlp_bias = c.tied_embeddings = true;
  return c;
}

/// Every tensor of the family that `config` describes, all of them random (norms and biases too), f64; requires no gradient.
inline Weights random_weights(const ModelConfig& c) {
  const auto random = [](std::int64_t rows, std::int64_t columns, double scale) { return at::randn({rows, columns}, at::kDouble) * scale; };
  const auto vector = [](std::int64_t n, double mean, double scale) { return mean + at::randn({n}, at::kDouble) * scale; };
  Weights w;
  w.W_E = random(c.d_vocab, c.d_model, 1.0);
  if (c.positions == Positions::learned) w.W_pos = random(c.n_ctx, c.d_model, 0.5);
  const bool centred = c.norm == Norm::layer;
  const double in = 1.0 / std::sqrt(static_cast<double>(c.d_model));
  const auto q = c.n_heads * c.d_head, kv = c.n_kv_heads * c.d_head;
  for (std::int64_t l = 0; l < c.n_layers; ++l) {
    BlockWeights b;
    b.ln1_w = vector(c.d_model, 1.0, 0.2), b.ln2_w = vector(c.d_model, 1.0, 0.2);
    if (centred) b.ln1_b = vector(c.d_model, 0, 0.2), b.ln2_b = vector(c.d_model, 0, 0.2);
    b.W_Q = random(q, c.d_model, in), b.W_K = random(kv, c.d_model, in), b.W_V = random(kv, c.d_model, in);
    b.W_O = random(c.d_model, q, 1.0 / std::sqrt(static_cast<double>(q)));
    if (c.attn_bias) b.b_Q = vector(q, 0, 0.3), b.b_K = vector(kv, 0, 0.3), b.b_V = vector(kv, 0, 0.3);
    if (c.attn_out_bias) b.b_O = vector(c.d_model, 0, 0.3);
    if (c.gated_mlp) b.W_gate = random(c.d_mlp, c.d_model, in);
    b.W_in = random(c.d_mlp, c.d_model, in);
    b.W_out = random(c.d_model, c.d_mlp, 1.0 / std::sqrt(static_cast<double>(c.d_mlp)));
    if (c.mlp_bias && c.gated_mlp) b.b_gate = vector(c.d_mlp, 0, 0.3);
    if (c.mlp_bias) b.b_in = vector(c.d_mlp, 0, 0.3), b.b_out = vector(c.d_model, 0, 0.3);
    w.blocks.push_back(b);
  }
  w.ln_final_w = vector(c.d_model, 1.0, 0.2);
  if (centred) w.ln_final_b = vector(c.d_model, 0, 0.2);
  w.W_U = c.tied_embeddings ? w.W_E : random(c.d_vocab, c.d_model, in);
  return w;
}

/// Calls visit with each tensor that is there (a tied W_U is not visited).
template <class Visit>
void each_tensor(Weights& w, Visit visit) {
  const bool tied = w.W_U.is_same(w.W_E);
  const auto each = [&](std::initializer_list<Tensor*> tensors) {
    for (Tensor* t : tensors) {
      if (t->defined()) visit(*t);
    }
  };
  each({&w.W_E, &w.W_pos});
  for (auto& b : w.blocks) {
    each({&b.ln1_w, &b.ln1_b, &b.W_Q, &b.W_K, &b.W_V, &b.b_Q, &b.b_K, &b.b_V, &b.W_O, &b.b_O, &b.ln2_w, &b.ln2_b, &b.W_gate, &b.W_in,
          &b.b_gate, &b.b_in, &b.W_out, &b.b_out});
  }
  each({&w.ln_final_w, &w.ln_final_b});
  if (tied)
    w.W_U = w.W_E;
  else
    visit(w.W_U);
}

/// The same numbers as leaves of another dtype.
inline Transformer leaves(const ModelConfig& config, const Weights& weights, at::ScalarType dtype) {
  Transformer model{config, weights};
  each_tensor(model.weights, [&](Tensor& t) { t = t.to(dtype).clone().requires_grad_(); });
  return model;
}

inline TokenBatch batch_of(const std::vector<std::int64_t>& lengths, std::int64_t d_vocab) {
  TokenBatch batch;
  batch.offsets = {0};
  for (const auto length : lengths) {
    for (std::int32_t i = 0; i < length; ++i) {
      batch.ids.push_back(static_cast<std::int32_t>((batch.ids.size() * 7 + 3) % static_cast<std::size_t>(d_vocab)));
      batch.positions.push_back(i);
    }
    batch.offsets.push_back(static_cast<std::int64_t>(batch.ids.size()));
  }
  return batch;
}

}  // namespace assay::testing_tools
