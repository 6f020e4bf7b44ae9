#pragma once
#include "assay/routing/experiments/split_autoencoder.h"

/// What split_autoencoder.h declares, composed of libtorch's operations: for every device and dtype that the kernels do not cover.
namespace assay::routing {

SplitLosses composed_split_gradients(const SplitAutoencoder& model, const SplitSetting& setting, const SplitImages& images,
                                     std::span<const std::int64_t> batch, Precision precision);
Tensor composed_encode(const SplitAutoencoder& model, const SplitImages& images, Precision precision);
Tensor composed_reconstruct(const DenseNet& net, const Tensor& rows, std::int64_t column, Precision precision);

}  // namespace assay::routing
