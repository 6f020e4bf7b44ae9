#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace assay::routing {

inline constexpr std::int64_t kImageSide = 28, kPixels = kImageSide * kImageSide;

/// Labelled grey images of 28 x 28, as MNIST has them.
struct ImageSet {
  std::vector<std::uint8_t> pixels;  ///< [n][kPixels]
  std::vector<std::uint8_t> labels;  ///< [n], 0 to 9
  [[nodiscard]] std::int64_t n() const { return static_cast<std::int64_t>(labels.size()); }
  [[nodiscard]] std::span<const std::uint8_t> image(std::int64_t i) const {
    return std::span(pixels).subspan(static_cast<std::size_t>(i * kPixels), static_cast<std::size_t>(kPixels));
  }
};

struct ImageData {
  ImageSet train, test;
  std::string sha256;  ///< of the four files' hashes, uncompressed, in the order of idx_names()
};

/// "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte".
const std::vector<std::string>& idx_names();
/// One of these files in `folder`, plain or as .gz, uncompressed. Errors: it is not there, it is no whole gzip file.
std::string read_idx_file(const std::filesystem::path& folder, const std::string& name);
/// The two sets of a folder. Errors name the file: another magic number, another size than its header says, images of another size,
/// as many labels as images is not so, a label above 9.
ImageData read_images(const std::filesystem::path& folder);
/// The bytes of an idx file of unsigned bytes: images [n][kPixels] where `images`, else labels [n].
std::string idx_bytes(std::span<const std::uint8_t> values, bool images);

}  // namespace assay::routing
