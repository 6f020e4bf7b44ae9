#include "assay/routing/experiments/idx_images.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <functional>

#include "../error_of.h"
#include "assay/base/files.h"
#include "assay/routing/experiments/fetch_images.h"

namespace assay::routing {
namespace {

constexpr std::size_t kTrain = 7, kTest = 3;

/// The bytes of the four files, by place in idx_names().
std::vector<std::string> tiny_files() {
  std::vector<std::string> files;
  for (const std::size_t n : {kTrain, kTest}) {
    std::vector<std::uint8_t> pixels, labels;
    for (std::size_t i = 0; i < n; ++i) {
      labels.push_back(static_cast<std::uint8_t>(i % 10));
      for (std::int64_t p = 0; p < kPixels; ++p) pixels.push_back(static_cast<std::uint8_t>(i + static_cast<std::size_t>(p)));
    }
    files.push_back(idx_bytes(pixels, true));
    files.push_back(idx_bytes(labels, false));
  }
  return files;
}

void write_all(const fs::path& folder, const std::vector<std::string>& files) {
  for (std::size_t i = 0; i < files.size(); ++i) write_text(folder / idx_names()[i], files[i]);
}

std::string gzip(const std::string& bytes) {
  std::string packed(bytes.size() + 1000, '\0');
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(packed.size() - stream.avail_out);
  deflateEnd(&stream);
  return packed;
}

TEST(IdxImages, PlainAndPackedFilesGiveTheSame) {
  const TemporaryFolder plain, packed;
  const auto files = tiny_files();
  write_all(plain.path(), files);
  for (std::size_t i = 0; i < files.size(); ++i) write_text(packed.path() / (idx_names()[i] + ".gz"), gzip(files[i]));
  const ImageData a = read_images(plain.path()), b = read_images(packed.path());
  EXPECT_EQ(a.train.n(), static_cast<std::int64_t>(kTrain));
  EXPECT_EQ(a.test.n(), static_cast<std::int64_t>(kTest));
  EXPECT_EQ(a.train.labels[6], 6);
  EXPECT_EQ(a.test.image(2)[5], 7);
  EXPECT_EQ(a.train.pixels, b.train.pixels);
  EXPECT_EQ(a.test.labels, b.test.labels);
  EXPECT_EQ(a.sha256, b.sha256);
  EXPECT_FALSE(is_fetchable(a, false));
}

/// The error of reading the tiny set after `spoil`.
std::string spoilt(const std::function<void(std::vector<std::string>&)>& spoil) {
  const TemporaryFolder folder;
  auto files = tiny_files();
  spoil(files);
  write_all(folder.path(), files);
  return error_of([&] { read_images(folder.path()); });
}

TEST(IdxImages, BrokenFilesAreNamed) {
  EXPECT_EQ(spoilt([](auto&) {}), "");
  const auto expect = [](const std::string& error, const std::string& file, const std::string& what) {
    EXPECT_NE(error.find(file), std::string::npos) << error;
    EXPECT_NE(error.find(what), std::string::npos) << error;
  };
  expect(spoilt([](auto& f) { f[0].pop_back(); }), idx_names()[0], "behind its header");
  expect(spoilt([](auto& f) { f[2] += 'x'; }), idx_names()[2], "behind its header");
  expect(spoilt([](auto& f) { f[0].resize(10); }), idx_names()[0], "ends inside its header");
  expect(spoilt([](auto& f) { f[3].clear(); }), idx_names()[3], "has 0 bytes");
  expect(spoilt([](auto& f) { f[1] = f[0]; }), idx_names()[1], "expected 2049 (labels of bytes)");
  expect(spoilt([](auto& f) { f[0][2] = 0x0d; }), idx_names()[0], "expected 2051 (images of bytes)");
  expect(spoilt([](auto& f) { f[0][11] = 32; }), idx_names()[0], "32 x 28 pixels, expected 28 x 28");
  expect(spoilt([](auto& f) { f[1] = f[3]; }), idx_names()[1], "3 labels");
  expect(spoilt([](auto& f) { f[1].back() = 10; }), idx_names()[1], "label 10");
  expect(spoilt([](auto& f) { f[2] = idx_bytes({}, true), f[3] = idx_bytes({}, false); }), idx_names()[2], "no image");
  // A count that would overflow a product of 32 bits.
  expect(spoilt([](auto& f) { f[0][4] = f[0][5] = f[0][6] = f[0][7] = '\xff'; }), idx_names()[0], "promises 3367254359280");
}

TEST(IdxImages, MissingAndTornFilesAreNamed) {
  const TemporaryFolder folder;
  EXPECT_NE(error_of([&] { read_images(folder.path()); }).find("neither train-images-idx3-ubyte nor"), std::string::npos);
  const std::string packed = gzip(tiny_files()[0]);
  const fs::path file = folder.path() / (idx_names()[0] + ".gz");
  write_text(file, packed.substr(0, packed.size() / 2));
  EXPECT_NE(error_of([&] { read_images(folder.path()); }).find("no whole gzip file: it ends too early"), std::string::npos);
  write_text(file, "not gzip at all");
  EXPECT_NE(error_of([&] { read_images(folder.path()); }).find("no whole gzip file"), std::string::npos);
}

}  // namespace
}  // namespace assay::routing
