#pragma once
#include <cstdint>
#include <span>
#include <string>

namespace assay {

/// A grey picture as PNG (8 bits a pixel, rows from the top), and as an address that a page can hold.
std::string png(std::int64_t width, std::int64_t height, std::span<const std::uint8_t> grey);
std::string data_uri(const std::string& png);

}  // namespace assay
