#include "assay/routing/experiments/setting_run.h"

#include <charconv>

#include "assay/base/error.h"

namespace assay::routing {

SettingRun parse_setting_run(const std::string& name) {
  SettingRun run;
  const char *begin = name.data(), *end = begin + name.size();
  const auto [colon, first] = std::from_chars(begin, end, run.setting);
  if (first == std::errc() && colon != end && *colon == ':')
    if (const auto [rest, second] = std::from_chars(colon + 1, end, run.seed); second == std::errc() && rest == end) return run;
  throw UsageError("route", "'" + name + "' is no run", "a run is SETTING:SEED, such as 1:0");
}

}  // namespace assay::routing
