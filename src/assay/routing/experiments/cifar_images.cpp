#include "assay/routing/experiments/cifar_images.h"

#include "assay/base/error.h"
#include "assay/base/files.h"

namespace assay::routing {
namespace {

constexpr std::size_t kRecord = 2 + static_cast<std::size_t>(kCifarPixels);

CifarSet read_records(const fs::path& path) {
  if (!fs::exists(path))
    throw Error("read images", path.string() + " is missing",
                "--data is the folder of CIFAR-100's binary version, which holds train.bin and test.bin");
  const std::string bytes = read_text(path);
  if (bytes.empty() || bytes.size() % kRecord != 0)
    throw Error("read images",
                path.string() + " has " + std::to_string(bytes.size()) + " bytes, expected whole records of " + std::to_string(kRecord) +
                    " (coarse label, fine label, 3 x 32 x 32 pixels)",
                "it is CIFAR-10, or was cut off");
  CifarSet set;
  for (std::size_t at = 0; at < bytes.size(); at += kRecord) {
    const auto label = static_cast<std::uint8_t>(bytes[at + 1]);
    if (label > 99)
      throw Error("read images", path.string() + ": image " + std::to_string(at / kRecord) + " has the label " + std::to_string(label) +
                                     ", expected 0 to 99");
    set.labels.push_back(label);
    set.pixels.insert(set.pixels.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at + 2),
                      bytes.begin() + static_cast<std::ptrdiff_t>(at + kRecord));
  }
  return set;
}

}  // namespace

CifarData read_cifar100(const fs::path& folder) {
  CifarData data{read_records(folder / "train.bin"), read_records(folder / "test.bin"), {}};
  data.sha256 = sha256(sha256_file(folder / "train.bin") + sha256_file(folder / "test.bin"));
  return data;
}

}  // namespace assay::routing
