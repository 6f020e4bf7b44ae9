#pragma once
#include <string>
#include <vector>

#include "assay/train/examples.h"

namespace assay {

/// Feeds examples into one SHA-256: lengths, ids, weights.
class DataHash {
 public:
  void add(const Example& example);
  [[nodiscard]] std::string hex() const;

 private:
  std::string bytes_;
};

}  // namespace assay
