#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "assay/base/json.h"
#include "assay/base/progress.h"
#include "assay/routing/experiments/resnet_split.h"
#include "assay/routing/experiments/setting_run.h"

namespace assay::routing {

struct ResnetOptions {
  ResnetShape shape;
  std::int64_t epochs = 200, batch = 128;
  double lr = 0.1, momentum = 0.9, weight_decay = 5e-4;  ///< SGD, decay as part of the gradient; the rate follows a cosine to 0
  std::int64_t train_images = 0, test_images = 0;        ///< the first so many; 0 = all
  std::int64_t fresh_epochs = 10;                        ///< of the decoders that are trained anew on the frozen halves
  std::int64_t checkpoint_every = 1;                     ///< epochs
  std::uint64_t seed = 0;
  c10::Device device = c10::kCPU;  ///< of the net; images are read and changed on the CPU
};
/// A ResNet-10 of an eighth of the width, 6 epochs: minutes on a CPU.
ResnetOptions quick_resnet_options();

/// What makes a run what it is, for run.json.
Json resnet_identity(const ResnetSetting& setting, const ResnetOptions& options, const CifarData& data, Precision precision);

/// Trains one setting with one seed, then decoders anew on the frozen halves, and measures accuracies. Keeps a checkpoint in `folder`, goes
/// on from it, and leaves run.json: {"identity", "training", "accuracy": {DECODER: {"0-49", "50-99"}}, "curve"}. A folder of another run is
/// refused.
Json run_resnet(const ResnetSetting& setting, const ResnetOptions& options, const CifarData& data, Precision precision,
                const std::filesystem::path& folder, Progress& progress);

/// settings[]: {number, name, metrics: {"decoder.0-49": {mean, ci90, seeds}, ...}, ...} of the finished runs. Intervals are t over seeds.
Json resnet_results(const std::vector<SettingRun>& runs, const std::filesystem::path& out);
std::string resnet_table(const Json& results);

}  // namespace assay::routing
