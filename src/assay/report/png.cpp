#include "assay/report/png.h"

#include <sodium.h>
#include <zlib.h>

#include <vector>

#include "assay/base/error.h"

namespace assay {
namespace {

void append_u32(std::string& to, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) to += static_cast<char>(value >> shift & 0xff);
}

/// Length, type, data, and the CRC of type and data.
void append_chunk(std::string& to, const std::string& type, const std::string& data) {
  append_u32(to, static_cast<std::uint32_t>(data.size()));
  const std::string body = type + data;
  to += body;
  append_u32(to, static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()))));
}

}  // namespace

std::string png(std::int64_t width, std::int64_t height, std::span<const std::uint8_t> grey) {
  if (width < 1 || height < 1 || static_cast<std::int64_t>(grey.size()) != width * height)
    throw Error("png", std::to_string(grey.size()) + " pixels for " + std::to_string(width) + " x " + std::to_string(height));
  std::string rows;  // each begins with its filter: 0, none
  for (std::int64_t y = 0; y < height; ++y) {
    rows += '\0';
    const auto row = grey.subspan(static_cast<std::size_t>(y * width), static_cast<std::size_t>(width));
    rows.append(row.begin(), row.end());
  }
  uLongf size = compressBound(static_cast<uLong>(rows.size()));
  std::string packed(size, '\0');
  if (compress2(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(rows.data()),
                static_cast<uLong>(rows.size()), 9) != Z_OK)
    throw Error("png", "zlib could not compress the picture");
  packed.resize(size);
  std::string header;
  append_u32(header, static_cast<std::uint32_t>(width));
  append_u32(header, static_cast<std::uint32_t>(height));
  header += std::string("\x08\x00\x00\x00\x00", 5);  // 8 bits, grey, deflate, the five filters, not interlaced
  std::string out = "\x89PNG\r\n\x1a\n";
  append_chunk(out, "IHDR", header);
  append_chunk(out, "IDAT", packed);
  append_chunk(out, "IEND", "");
  return out;
}

std::string data_uri(const std::string& png) {
  std::string text(sodium_base64_encoded_len(png.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(text.data(), text.size(), reinterpret_cast<const unsigned char*>(png.data()), png.size(),
                    sodium_base64_VARIANT_ORIGINAL);
  text.pop_back();  // the terminator
  return "data:image/png;base64," + text;
}

}  // namespace assay
