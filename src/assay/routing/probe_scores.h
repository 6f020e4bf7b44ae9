#pragma once
#include <vector>

#include "assay/base/progress.h"
#include "assay/routing/rules.h"

namespace assay::routing {

/// Adds the score `probe.name` to every token: sigmoid(direction . residual stream before block `layer` + bias), by the model as it stands.
void add_probe_scores(const ProbeScore& probe, const Transformer& model, std::vector<RoutedExample>& sequences, Precision precision,
                      Progress& progress);

}  // namespace assay::routing
