#pragma once
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/routing/router.h"
#include "assay/routing/rules.h"

namespace assay::routing {

/// Which data reaches which parameters:
/// {"plan","reading","groups":[{"name","rule","tokens"}],"routes":[{"place","mode","parameters","scale":{group: number},"anneal"}],
/// "rest":{group: number},"notes":[...]}. `rules` (null = no data) adds how many tokens of the data each group has.
Json explain(const Router& router, const Transformer& model, const Rules* rules);
/// The same for people.
std::string explain_text(const Json& explained);

/// One token of a text and where its gradient goes: shares by group.
struct ExplainedToken {
  std::string text;
  std::vector<double> shares;
};
/// `label`: as the rules see it (Plan::observed).
std::vector<ExplainedToken> explain_tokens(const Rules& rules, const Tokenizer& tokenizer, const RoutedExample& sequence,
                                           const std::string& label, std::size_t n_groups);

}  // namespace assay::routing
