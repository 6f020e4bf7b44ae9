#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "assay/base/progress.h"
#include "assay/sae/activations.h"
#include "assay/sae/sae.h"

namespace assay {

/// Sums over all rows, in f64 (the denominator is a difference of two large numbers where activations have a large mean).
class ReconstructionSums {
 public:
  void add(const Tensor& x, const Tensor& x_hat);
  /// 1 - sum |x - x^|^2 / (sum |x|^2 - N |mean x|^2): 0 for a reconstruction by the mean.
  [[nodiscard]] double explained_variance() const;

 private:
  double error_ = 0, squares_ = 0;
  std::int64_t n_ = 0;
  Tensor sum_;
};

/// Mean over rows of KL(softmax a || softmax b), nats, of logits [n, d_vocab].
double mean_kl(const Tensor& a, const Tensor& b);

struct SaeEvaluation {
  std::int64_t tokens = 0;  ///< positions, the first of each sequence left out
  double l0 = 0, explained_variance = 0;
  double dead = 0;  ///< share of latents that never fired here
  /// Cross entropy of the model as it is, with the reconstruction in the activation's place, and with zeros there; the first position of
  /// each sequence keeps its own activation.
  double ce_clean = 0, ce_sae = 0, ce_zero = 0;
  double kl_sae = 0, kl_zero = 0;  ///< of the model's next-token distribution
  [[nodiscard]] double ce_recovered() const { return (ce_zero - ce_sae) / (ce_zero - ce_clean); }
  [[nodiscard]] double kl_score() const { return (kl_zero - kl_sae) / kl_zero; }
};
Json to_json(const SaeEvaluation& evaluation);

/// On the sequences as they stand, until `max_tokens` (0 = all).
SaeEvaluation evaluate_sae(const Sae& sae, const Transformer& model, const std::vector<std::vector<TokenId>>& sequences,
                           const std::string& hook, std::int64_t max_tokens, Precision precision, Progress& progress);

}  // namespace assay
