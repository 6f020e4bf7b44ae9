#include "assay/report/split_report.h"

#include <gtest/gtest.h>
#include <sodium.h>
#include <zlib.h>

#include "../error_of.h"
#include "assay/report/png.h"

namespace assay {
namespace {

std::uint32_t u32(const std::string& bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<std::uint8_t>(bytes[at + i]);
  return value;
}

TEST(Png, ChunksHoldThePictureAndTheirSums) {
  const std::vector<std::uint8_t> grey = {0, 1, 2, 253, 254, 255};
  const std::string bytes = png(3, 2, grey);
  ASSERT_EQ(bytes.substr(0, 8), "\x89PNG\r\n\x1a\n");
  std::string types, packed;
  for (std::size_t at = 8; at < bytes.size();) {
    const std::size_t length = u32(bytes, at);
    const std::string body = bytes.substr(at + 4, 4 + length);
    EXPECT_EQ(u32(bytes, at + 8 + length), crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size())));
    types += body.substr(0, 4);
    if (body.starts_with("IHDR")) {
      EXPECT_EQ(u32(body, 4) * 10 + u32(body, 8), 32U);
    }
    if (body.starts_with("IDAT")) packed = body.substr(4);
    at += 12 + length;
  }
  EXPECT_EQ(types, "IHDRIDATIEND");
  std::uint8_t rows[8];
  uLongf size = sizeof rows;
  ASSERT_EQ(uncompress(rows, &size, reinterpret_cast<const Bytef*>(packed.data()), static_cast<uLong>(packed.size())), Z_OK);
  EXPECT_EQ(std::vector<int>(rows, rows + size), (std::vector<int>{0, 0, 1, 2, 0, 253, 254, 255}));
  EXPECT_EQ(data_uri("abc"), "data:image/png;base64,YWJj");
  EXPECT_TRUE(contains(error_of([&] { png(4, 2, grey); }), "6 pixels for 4 x 2"));
}

TEST(SplitReport, HasOursBesideThePapersAndThePictures) {
  Json metrics;
  double value = 0.1;
  for (const char* decoder : {"bottom.certificate", "top.certificate", "autoencoder", "bottom.fresh_mse"})
    for (const char* key : {"mse.0-4", "mse.5-9", "mae.0-4", "mae.5-9"})
      metrics[std::string(decoder) + "." + key] = {
          {"mean", value += 0.011}, {"ci90", {"-inf", "inf"}}, {"seeds", {value}}, {"half_width", 0.017}};
  const Json results = {{"settings",
                         {{{"number", 4},
                           {"name", "a <name>"},
                           {"seeds", {3}},
                           {"metrics", metrics},
                           {"published", {{"0-4", 0.32}, {"0-4_half_width", 0.02}, {"5-9", 0.08}, {"5-9_half_width", 0.0}}}}}},
                        {"ignorant", {{"mse.0-4", 0.278}, {"mse.5-9", 0.261}, {"mae.0-4", 0.256}, {"mae.5-9", 0.246}}},
                        {"config", {{"epochs", 7}, {"hidden", {512, 256}}, {"batch", 256}, {"dtype", "bf16"}}},
                        {"data", {{"name", "mnist"}, {"train", 60000}, {"test", 10000}, {"sha256", "0123456789abcdef0123"}}},
                        {"assay", {}},
                        {"command", "assay route mnist"}};
  const std::string page = split_report(results, {{4, {{"image", "bottom half"}, std::vector<std::uint8_t>(2 * 3 * 784, 9)}}});
  for (const char* part : {"a &lt;name&gt;", "0.111</span> <span class=\"soft\">± 0.017", "0.32 <span class=\"soft\">± 0.02", "0.278",
                           "Epochs 7", "setting", "data:image/png;base64,", "alt=\"bottom half\"", "one image for all"})
    EXPECT_TRUE(contains(page, part)) << part;
  EXPECT_FALSE(contains(page, "http://") || contains(page, "<script"));
  // Rows of pictures that do not fit are left out, not read past their end.
  EXPECT_FALSE(contains(split_report(results, {{4, {{"image", "bottom half"}, std::vector<std::uint8_t>(3 * 784, 9)}}}), "data:image/png"));
}

}  // namespace
}  // namespace assay
