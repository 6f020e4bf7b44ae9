#pragma once
#include "assay/sae/sae.h"

namespace assay {

/// One batch's losses, gradients and which latents fired.
struct TopKGradients {
  Tensor W_enc, b_enc, W_dec, b_dec;
  double mse = 0;                   ///< mean over rows of |x^ - x|^2
  double variance = 0;              ///< mean over rows of |x - mean x|^2
  double aux = 0;                   ///< the auxiliary term as it stands in the loss
  std::int64_t active = 0;          ///< values above 0, over all rows
  std::vector<std::uint8_t> fired;  ///< [d_sae]
};

/// Of the loss of SAELens' topk architecture (6.54, decoder norms not rescaled):
///   mean |x^ - x|^2 + aux_coefficient * min(n_dead / (d_in/2), 1) * mean |a W_dec - (x - x^)|^2,
/// where a are the min(d_in/2, n_dead) largest pre-activations of dead latents, without relu, and the residual x - x^ is held fixed.
/// Hand-written: only the chosen latents are touched behind the encoder's product. Sums over rows run in the order of the rows, so results
/// do not depend on the number of threads. f32 or f64, as the weights are. `dead` [d_sae].
TopKGradients topk_gradients(const Sae& sae, const Tensor& x, const std::vector<std::uint8_t>& dead, double aux_coefficient);

}  // namespace assay
