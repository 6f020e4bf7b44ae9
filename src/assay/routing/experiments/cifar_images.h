#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace assay::routing {

inline constexpr std::int64_t kCifarSide = 32, kCifarPixels = 3 * kCifarSide * kCifarSide;

/// Labelled colour images of 3 x 32 x 32, as the binary version of CIFAR-100 has them (Krizhevsky 2009).
struct CifarSet {
  std::vector<std::uint8_t> pixels;  ///< [n][3][32][32]
  std::vector<std::uint8_t> labels;  ///< [n], the fine label, 0 to 99
  [[nodiscard]] std::int64_t n() const { return static_cast<std::int64_t>(labels.size()); }
  [[nodiscard]] const std::uint8_t* image(std::int64_t i) const { return pixels.data() + i * kCifarPixels; }
};

struct CifarData {
  CifarSet train, test;
  std::string sha256;  ///< of the two files' hashes
};

/// `train.bin` and `test.bin` of a folder: records of a coarse label, a fine label and 3,072 pixels. Errors name the file: it is missing or
/// empty, it ends inside a record, a label is above 99.
CifarData read_cifar100(const std::filesystem::path& folder);

}  // namespace assay::routing
