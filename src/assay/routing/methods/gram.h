#pragma once
#include <string>
#include <utility>
#include <vector>

#include "assay/routing/plan.h"

/// Gradient-routed auxiliary modules (Roland et al. 2026): neurons of their own for each domain in every layer, which can be left out one
/// by one.
namespace assay::routing {

struct GramOptions {
  std::vector<std::pair<std::string, std::int64_t>> domains;  ///< label and neurons of its module
  double spread = 0.3;                                        ///< p_as: the chance that data of a domain teach the core, too
  double robustness = 0.5;  ///< p_cr: the chance that other data go through one of the modules, too, and teach it
  double unlabelled = 0.0;  ///< share of data without a domain's label that may be of any: all modules take part
};
/// Groups: DOMAIN ("module alone learns"), DOMAIN+core, core+DOMAIN, unlabelled, core. Modules stand in the order of the domains behind the
/// model's own neurons.
Plan gram_plan(const GramOptions& options, const ModelConfig& config);

/// Neurons that stay when these domains' modules do, for keep_neurons(): a profile. `d_mlp`: of the core. An unknown domain is an Error.
std::vector<std::pair<std::int64_t, std::int64_t>> gram_profile(const GramOptions& options, std::int64_t d_mlp,
                                                                const std::vector<std::string>& kept);

}  // namespace assay::routing
