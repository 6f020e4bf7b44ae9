#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "assay/model/fused/operands.h"
#include "assay/model/transformer.h"
#include "assay/routing/experiments/grid_policy.h"
#include "assay/routing/experiments/grid_world.h"

namespace assay::routing {

/// What a policy makes of one observation.
struct GridAnswer {
  std::array<float, kGridActions> probability, log_probability;
  float entropy, gate, value;
};

/// Sums over the steps at one observation of the loss' gradients, apart by what they may teach (route). The logits' gradients reach the
/// shared head from all three, both experts and the gate from `open`, one expert alone from the others.
struct GridUpstream {
  std::array<float, kGridActions> open{}, diamond{}, ghost{};
  float gate = 0;   ///< of the gate's logit, besides what `open` gives
  float value = 0;  ///< dL/dV
};

/// One rollout's forward and backward. A policy's answer depends on the observation alone and the weights stand still during a rollout, so
/// each distinct observation (a *row*) is computed once, when it is first met, and its activations are kept: the backward pass, linear in
/// the upstream gradients, runs over rows with the sums of their steps. The same sums as step by step, for about half of the work.
/// Products take operands in the precision's format and add up in f32. Results do not depend on the number of threads.
class GridPass {
 public:
  GridPass(const GridPolicy& policy, Precision precision, std::int64_t max_rows);

  /// Takes the weights as they are now and forgets all rows. A fixed gate of 1 (0) leaves the Diamond (Ghost) expert alone.
  void begin(std::optional<float> fixed_gate = {});
  /// The row of an observation; a new one is computed by the next forward().
  std::int32_t row(std::int32_t observation);
  void forward();
  [[nodiscard]] std::int64_t rows() const { return static_cast<std::int64_t>(observations_.size()); }
  [[nodiscard]] std::int32_t observation_of(std::int64_t row) const { return observations_[static_cast<std::size_t>(row)]; }
  [[nodiscard]] const GridAnswer& answer(std::int64_t row) const { return answers_[static_cast<std::size_t>(row)]; }
  /// Sets the gradients of all parameters; upstream: one a row. Not after a fixed gate.
  void backward(std::span<const GridUpstream> upstream);

 private:
  /// One of the nets: operands of this rollout's weights, activations of all rows.
  struct NetPass {
    const GridNet* net = nullptr;
    bool used = true;
    fused::Words forward_operand, backward_operand;
    Tensor table, bias;  // the first layer as seen from the observation: [100, 256], [256]
    fused::Words a1;     // operand rows
    fused::Words a2;     // f32 [max_rows, 256]
    [[nodiscard]] float* a2_row(std::int64_t row) const { return a2.floats() + row * kGridWidth; }
  };
  struct Piece;
  void forward_rows(std::int64_t begin, std::int64_t end, float* scratch);
  void answer_row(std::int64_t row);
  void backward_piece(Piece& piece, std::span<const GridUpstream> upstream, std::vector<fused::TokenPanels>& dz,
                      std::vector<fused::TokenPanels>& a1) const;
  void first_layer_gradient(const NetPass& net, std::int64_t row, const float* dz, float* table) const;
  void set_gate_gradients(const Tensor& table, const Tensor& bias) const;

  const GridPolicy& policy_;
  const kernels::FormatKernels& f_;
  std::int64_t max_rows_, words_;
  std::vector<NetPass> nets_;  // experts, then the gate
  struct {
    const float *W = nullptr, *b = nullptr, *gate_W = nullptr, *gate_b = nullptr;
  } head_;  // where the weights lie after the nets
  std::optional<float> fixed_gate_;
  GridValue::Collapsed value_{};
  std::vector<std::int32_t> row_of_;        // by observation; -1 = not met yet
  std::vector<std::int32_t> observations_;  // by row
  std::vector<GridAnswer> answers_;
  std::int64_t computed_ = 0;
};

}  // namespace assay::routing
