#pragma once
#include "assay/base/toml.h"
#include "assay/train/trainer.h"

namespace assay {

/// Reads the keys of TrainOptions by their names out of a recipe's section; what is absent keeps the value of `defaults`. schedule:
/// constant, linear, cosine, wsd; precision: f32, bf16.
TrainOptions train_options_from(const TomlTable& table, TrainOptions defaults = {});

}  // namespace assay
