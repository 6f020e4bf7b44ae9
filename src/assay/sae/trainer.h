#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>

#include "assay/base/progress.h"
#include "assay/sae/activations.h"
#include "assay/sae/sae.h"

namespace assay {

struct SaeTrainOptions {
  std::int64_t d_sae = 2048, k = 16;
  std::int64_t steps = 2000, batch = 1024;        ///< rows of a step
  double lr = 0;                                  ///< 0 = 2e-4 / sqrt(d_sae / 2^14), as dictionary_learning has it, times 4 for short runs
  double warmup_share = 0.05, decay_share = 0.2;  ///< of the steps: linear up, linear down to 0
  double aux_coefficient = 1.0 / 32;
  std::int64_t dead_after = 100000;  ///< rows without firing that make a latent dead
  double clip_norm = 1.0;
  std::uint64_t seed = 0;
  std::int64_t checkpoint_every = 250;
};
Json to_json(const SaeTrainOptions& options);

struct SaeTraining {
  Sae sae;  ///< in the units of the activations; d_in, d_sae, activation and k are set in its config
  std::int64_t steps = 0, rows = 0;
  double explained_variance = 0, l0 = 0;  ///< of the last tenth of the steps, on the batches trained on
  double dead = 0;                        ///< share
  double cpu_s = 0;
};

/// A TopK SAE. Activations are divided by their mean norm over sqrt(d_in) while it trains (folded into the biases afterwards); decoder rows
/// start random, the encoder as their copy, b_dec at the geometric median of the first chunk; decoder rows keep length 1, the gradient
/// along them is taken off; Adam (0.9, 0.999). With `checkpoint` (a file) a run that was stopped goes on from it to the same bits; one of
/// another `identity` is an Error.
SaeTraining train_sae(ActivationSource& source, const SaeTrainOptions& options, const Json& identity,
                      const std::optional<std::filesystem::path>& checkpoint, Progress& progress);

/// The point with the least sum of distances to the rows (Weiszfeld's iteration).
Tensor geometric_median(const Tensor& rows, int iterations = 50);

}  // namespace assay
