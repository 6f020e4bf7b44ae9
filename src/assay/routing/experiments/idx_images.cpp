#include "assay/routing/experiments/idx_images.h"

#include <zlib.h>

#include <algorithm>

#include "assay/base/error.h"
#include "assay/base/files.h"

namespace assay::routing {
namespace {

/// An idx file begins with 0, 0, the type (8 = unsigned byte) and the number of dimensions; then the dimensions, big-endian.
constexpr std::uint32_t kImagesMagic = 0x00000803, kLabelsMagic = 0x00000801;

std::uint32_t big_endian(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<std::uint8_t>(bytes[at + i]);
  return value;
}

void append_big_endian(std::string& to, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) to += static_cast<char>(value >> shift & 0xff);
}

std::string gunzip(const std::string& packed, const fs::path& path) {
  const auto broken = [&](const std::string& why) {
    return Error("read images", path.string() + " is no whole gzip file: " + why, "fetch it again");
  };
  z_stream stream{};
  if (inflateInit2(&stream, /*windowBits=*/15 + 16) != Z_OK) throw Error("read images", "zlib could not start");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string out;
  std::vector<char> piece(1 << 20);
  int code = Z_OK;
  while (code == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    code = inflate(&stream, Z_NO_FLUSH);
    out.append(piece.data(), piece.size() - stream.avail_out);
  }
  const std::string message = stream.msg ? stream.msg : code == Z_BUF_ERROR ? "it ends too early" : "zlib's code " + std::to_string(code);
  inflateEnd(&stream);
  if (code != Z_STREAM_END) throw broken(message);
  return out;
}

/// The values of an idx file with `dimensions`, of which the first is the count.
std::vector<std::uint8_t> values_of(const std::string& bytes, std::uint32_t magic, const std::string& where) {
  const auto fail = [&](const std::string& what) { return Error("read images", where + " " + what); };
  const std::size_t dimensions = magic & 0xff, header = 4 + 4 * dimensions;
  if (bytes.size() < 4) throw fail("has " + std::to_string(bytes.size()) + " bytes, an idx file has a header");
  if (const auto found = big_endian(bytes, 0); found != magic)
    throw fail("begins with the number " + std::to_string(found) + ", expected " + std::to_string(magic) +
               (magic == kImagesMagic ? " (images of bytes)" : " (labels of bytes)"));
  if (bytes.size() < header) throw fail("ends inside its header");
  if (magic == kImagesMagic && (big_endian(bytes, 8) != kImageSide || big_endian(bytes, 12) != kImageSide))
    throw fail("holds images of " + std::to_string(big_endian(bytes, 8)) + " x " + std::to_string(big_endian(bytes, 12)) +
               " pixels, expected 28 x 28");
  const std::size_t count = big_endian(bytes, 4), expected = count * (magic == kImagesMagic ? static_cast<std::size_t>(kPixels) : 1);
  if (bytes.size() - header != expected)
    throw fail("holds " + std::to_string(bytes.size() - header) + " bytes behind its header, which promises " + std::to_string(expected));
  return {bytes.begin() + static_cast<std::ptrdiff_t>(header), bytes.end()};
}

}  // namespace

const std::vector<std::string>& idx_names() {
  static const std::vector<std::string> names = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte",
                                                 "t10k-labels-idx1-ubyte"};
  return names;
}

std::string read_idx_file(const fs::path& folder, const std::string& name) {
  if (fs::exists(folder / name)) return read_text(folder / name);
  const fs::path packed = folder / (name + ".gz");
  if (fs::exists(packed)) return gunzip(read_text(packed), packed);
  throw Error("read images", folder.string() + " holds neither " + name + " nor " + name + ".gz",
              "--data is a folder with MNIST's four idx files; without it they are fetched");
}

ImageData read_images(const fs::path& folder) {
  ImageData data;
  std::string hashes;
  for (ImageSet* set : {&data.train, &data.test}) {
    const std::size_t first = set == &data.train ? 0 : 2;
    const std::string &images = idx_names()[first], &labels = idx_names()[first + 1];
    const std::string image_bytes = read_idx_file(folder, images), label_bytes = read_idx_file(folder, labels);
    set->pixels = values_of(image_bytes, kImagesMagic, (folder / images).string());
    set->labels = values_of(label_bytes, kLabelsMagic, (folder / labels).string());
    if (set->pixels.size() != set->labels.size() * static_cast<std::size_t>(kPixels))
      throw Error("read images", folder.string() + " holds " + std::to_string(set->pixels.size() / static_cast<std::size_t>(kPixels)) +
                                     " images in " + images + " and " + std::to_string(set->labels.size()) + " labels in " + labels);
    if (set->labels.empty()) throw Error("read images", (folder / images).string() + " holds no image");
    if (const auto wrong = std::find_if(set->labels.begin(), set->labels.end(), [](auto label) { return label > 9; });
        wrong != set->labels.end())
      throw Error("read images", (folder / labels).string() + " holds the label " + std::to_string(*wrong) + ", expected 0 to 9");
    hashes += assay::sha256(image_bytes) + assay::sha256(label_bytes);
  }
  data.sha256 = assay::sha256(hashes);
  return data;
}

std::string idx_bytes(std::span<const std::uint8_t> values, bool images) {
  std::string bytes;
  append_big_endian(bytes, images ? kImagesMagic : kLabelsMagic);
  append_big_endian(bytes, static_cast<std::uint32_t>(values.size()) / static_cast<std::uint32_t>(images ? kPixels : 1));
  if (images) append_big_endian(bytes, kImageSide), append_big_endian(bytes, kImageSide);
  bytes.append(values.begin(), values.end());
  return bytes;
}

}  // namespace assay::routing
