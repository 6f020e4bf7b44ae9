#pragma once
#include <span>

#include "assay/model/transformer.h"
#include "assay/train/examples.h"

namespace assay {

/// Mean cross entropy over the weighted tokens of sequences (nats), in passes of a few thousand tokens; nan for none.
double corpus_loss(const Transformer& model, std::span<const Example* const> sequences, Precision precision);

}  // namespace assay
