#include "assay/text/unicode.h"

#include <algorithm>
#include <array>

namespace assay {

namespace {

constexpr std::array<std::string_view, 29> kSpaces = {"\x09",         "\x0A",         "\x0B",         "\x0C",         "\x0D",
                                                      "\x1C",         "\x1D",         "\x1E",         "\x1F",         " ",
                                                      "\xC2\x85",     "\xC2\xA0",     "\xE1\x9A\x80", "\xE2\x80\x80", "\xE2\x80\x81",
                                                      "\xE2\x80\x82", "\xE2\x80\x83", "\xE2\x80\x84", "\xE2\x80\x85", "\xE2\x80\x86",
                                                      "\xE2\x80\x87", "\xE2\x80\x88", "\xE2\x80\x89", "\xE2\x80\x8A", "\xE2\x80\xA8",
                                                      "\xE2\x80\xA9", "\xE2\x80\xAF", "\xE2\x81\x9F", "\xE3\x80\x80"};

}  // namespace

std::size_t code_points(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::string_view rstrip(std::string_view text) {
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view space : kSpaces) {
      if (!text.ends_with(space)) continue;
      text.remove_suffix(space.size());
      again = true;
    }
  }
  return text;
}

std::string_view strip(std::string_view text) {
  text = rstrip(text);
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view space : kSpaces) {
      if (!text.starts_with(space)) continue;
      text.remove_prefix(space.size());
      again = true;
    }
  }
  return text;
}

}  // namespace assay
