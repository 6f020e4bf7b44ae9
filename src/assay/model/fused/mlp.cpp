#include <ATen/ATen.h>

#include "assay/model/fused/fused.h"
#include "assay/model/fused/stretch.h"

namespace assay::fused {

Tensor mlp_post(const Tensor& x, const BlockWeights& w, const ModelConfig& config, Precision precision) {
  const auto& f = format(precision);
  const auto n = x.size(0), d_mlp = w.W_gate.size(0), both = 2 * d_mlp;
  const auto half = [&](const Tensor& b) { return b.defined() ? b.detach() : at::zeros({d_mlp}, at::kFloat); };
  const Tensor bias = w.b_gate.defined() || w.b_in.defined() ? at::cat({half(w.b_gate), half(w.b_in)}) : Tensor();
  const NormedProducts in{
      f, x.detach().contiguous(), w.ln2_w.detach().contiguous(), static_cast<float>(config.norm_eps), Stack({w.W_gate, w.W_in}), bias};
  const std::vector<Tensor> inputs = {x, w.ln2_w, w.W_gate, w.W_in, w.b_gate, w.b_in};
  const bool differentiate = differentiates(inputs);
  Tensor post = at::empty({n, d_mlp}, at::kFloat);
  const Words kept(differentiate ? n * f.words(both) : 0);  // gate and up, in the operand format: [n][2 d_mlp]
  {
    const Words operand = in.W.forward_operand(f);
    for_tiles(n, [&](std::int64_t begin, std::int64_t rows, std::int64_t) {
      const Words products(rows * both);
      in.forward(begin, rows, operand, products.floats());
      f.swiglu(products.floats(), rows, d_mlp, post.data_ptr<float>() + begin * d_mlp,
               differentiate ? kept.data() + begin * f.words(both) : nullptr);
    });
  }
  if (!differentiate) return post;
  const bool gate_bias = w.b_gate.defined(), in_bias = w.b_in.defined();
  return record(post, inputs, [in, kept, d_mlp, both, gate_bias, in_bias](const Tensor& dpost, const Node&) {
    auto gradients = in.backward([&](std::int64_t begin, std::int64_t rows, void* to, float* bias_sums) {
      in.f.swiglu_backward(dpost.data_ptr<float>() + begin * d_mlp, kept.data() + begin * in.f.words(both), rows, d_mlp, to);
      if (bias_sums) in.f.column_sums(to, both, rows, both, bias_sums);
    });
    const Tensor dbias = in.bias.defined() ? gradients[4] : Tensor();
    gradients.resize(4);
    gradients.push_back(gate_bias ? dbias.narrow(0, 0, d_mlp) : Tensor());
    gradients.push_back(in_bias ? dbias.narrow(0, d_mlp, d_mlp) : Tensor());
    return gradients;
  });
}

}  // namespace assay::fused
