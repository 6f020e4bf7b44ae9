#pragma once
#include <string>

#include "assay/base/progress.h"
#include "assay/routing/experiments/split_autoencoder.h"

namespace assay::routing {

enum class Measure { mae, mse };

/// A decoder that was trained on frozen encodings: is what the certificate cannot read gone, or only out of its reach? It is larger than
/// the certificate, sees each dimension at standard deviation 1 (L1 may have made it tiny, not empty), and its learning rate ends at 0.
struct FreshDecoder {
  Tensor mean, std;  ///< of the encodings that it was trained on, [d]
  DenseNet net;
  /// f32 [n, d] -> f32 [n, kPixels].
  [[nodiscard]] Tensor reconstruct(const Tensor& encodings, Precision precision) const;
};

/// encodings: [n, d], one for each image; where they are, the decoder is trained. Stopped, it throws Interrupted and has to begin anew.
FreshDecoder train_fresh_decoder(const Tensor& encodings, const SplitImages& images, Measure loss, const SplitOptions& options,
                                 Precision precision, Rng rng, const std::string& name, Progress& progress);

}  // namespace assay::routing
