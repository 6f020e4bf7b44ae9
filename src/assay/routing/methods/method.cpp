#include "assay/routing/methods/method.h"

#include <utility>

#include "assay/base/error.h"

namespace assay::routing {
namespace {

using Method = MethodRun (*)(const TomlTable& numbers, const MethodContext& context);
constexpr std::pair<const char*, Method> kMethods[] = {
    {"base", run_base},       {"control", run_control},     {"filter", run_filter}, {"era", run_era}, {"placebo", run_placebo},
    {"demix", run_demix},     {"sgtm", run_sgtm},           {"gram", run_gram},     {"rmu", run_rmu}, {"npo", run_npo},
    {"max_ent", run_max_ent}, {"grad_diff", run_grad_diff}, {"undo", run_undo},
};

}  // namespace

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const auto& [name, run] : kMethods) names.emplace_back(name);
  return names;
}

MethodRun run_method(const MethodSettings& settings, const MethodContext& context) {
  std::string list;
  for (const auto& [name, run] : kMethods) {
    if (settings.name == name) return run(settings.numbers, context);
    list += (list.empty() ? "" : ", ") + std::string(name);
  }
  throw Error("method", "there is no method '" + settings.name + "'", "methods: " + list);
}

}  // namespace assay::routing
