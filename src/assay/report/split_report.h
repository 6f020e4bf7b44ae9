#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "assay/base/json.h"

namespace assay {

/// Reconstructions of a run of the split autoencoder: rows of images of 28 x 28, all with the same digits.
struct SplitPictures {
  std::vector<std::string> rows;
  std::vector<std::uint8_t> pixels;  ///< [rows][digits][28][28]
};

/// The report of `assay route mnist`: one self-contained page. `pictures` by number of setting. Parts that are missing are left out.
std::string split_report(const Json& results, const std::map<int, SplitPictures>& pictures);

}  // namespace assay
