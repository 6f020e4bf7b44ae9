#pragma once
#include <cstdint>
#include <filesystem>
#include <string>

namespace assay::routing {

/// One training of an experiment whose settings are numbered: a setting with a seed. "4:1" and back.
struct SettingRun {
  int setting = 1;
  std::uint64_t seed = 0;
  [[nodiscard]] std::string name() const { return std::to_string(setting) + ":" + std::to_string(seed); }
  [[nodiscard]] std::filesystem::path folder(const std::filesystem::path& out) const {
    return out / "runs" / ("setting-" + std::to_string(setting) + "-seed-" + std::to_string(seed));
  }
};
SettingRun parse_setting_run(const std::string& name);

}  // namespace assay::routing
