#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/routing/experiments/idx_images.h"
#include "assay/routing/experiments/setting_run.h"
#include "assay/routing/experiments/split_settings.h"

namespace assay::routing {

/// `seeds` of each setting; 0 = three of settings 1, 4, 9 and 10, one of the others.
std::vector<SettingRun> split_runs(const std::vector<int>& settings, int seeds, std::uint64_t first_seed);

/// Errors of images that know nothing: the training set's mean and median pixels.
Json ignorant_errors(const ImageData& data);
/// settings[]: {number, name, metrics: {"bottom.certificate.mse.0-4": {mean, ci90, seeds, half_width}, ...}, published, images_per_cpu_s,
/// ...} from the records of finished runs. half_width is the paper's: 1.96 standard errors over the means of (run, digit).
Json split_results(const std::vector<SettingRun>& runs, const std::filesystem::path& out);
/// Table 2 in Markdown, ours beside the paper's.
std::string split_table(const Json& results);

}  // namespace assay::routing
