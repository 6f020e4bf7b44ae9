#pragma once
#include <string>
#include <vector>

#include "assay/base/progress.h"
#include "assay/routing/rules.h"

namespace assay::routing {

/// How much each neuron says on sequences of one label and on all others: means of |mlp.hook_post| over tokens.
struct Selectivity {
  std::vector<std::vector<double>> own, other;  ///< [layer][neuron]; 0 where there is no token
  std::int64_t own_tokens = 0, other_tokens = 0;

  /// Mean over neurons begin..end-1 of a layer, own over other; 0 where other is 0.
  [[nodiscard]] double ratio(std::size_t layer, std::int64_t begin, std::int64_t end) const;
};
Selectivity selectivity(const Transformer& model, const std::vector<RoutedExample>& sequences, const std::string& label,
                        Precision precision, Progress& progress);

}  // namespace assay::routing
