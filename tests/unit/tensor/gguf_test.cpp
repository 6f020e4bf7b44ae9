#include "assay/tensor/gguf.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "write_plainly.h"

namespace assay {
namespace {

/// Writes GGUF by hand, as ggml's document describes it.
struct Writer {
  std::string bytes;
  template <class T>
  Writer& put(T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Writer& text(const std::string& s) {
    put<std::uint64_t>(s.size());
    bytes += s;
    return *this;
  }
  Writer& header(std::uint64_t tensors, std::uint64_t pairs, std::uint32_t version = 3) {
    bytes = "GGUF";
    return put(version).put(tensors).put(pairs);
  }
  Writer& key(const std::string& name, std::uint32_t type) { return text(name).put(type); }
  Writer& tensor(const std::string& name, const std::vector<std::uint64_t>& shape, std::uint32_t type, std::uint64_t offset) {
    text(name).put(static_cast<std::uint32_t>(shape.size()));
    for (const auto n : shape) put(n);
    return put(type).put(offset);
  }
  Writer& align(std::size_t alignment = 32) {
    bytes.append((alignment - bytes.size() % alignment) % alignment, '\0');
    return *this;
  }
};

constexpr std::uint32_t kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 8, kBF16 = 30, kString = 8, kArray = 9, kU32 = 4;

class Gguf : public testing::Test {
 protected:
  GgufFile open(const Writer& w) {
    write_plainly(path, w.bytes);
    return GgufFile(path);
  }
  std::string failure(const Writer& w) {
    try {
      (void)open(w);
    } catch (const Error& e) {
      EXPECT_EQ(e.operation(), "gguf");
      EXPECT_NE(e.message().find(path.string()), std::string::npos) << e.what();
      return e.message();
    }
    return "nothing was thrown";
  }
  void expect_refused(const Writer& w, const std::string& part) { EXPECT_NE(failure(w).find(part), std::string::npos) << failure(w); }
  TemporaryFolder temporary;
  const fs::path path = temporary.path() / "t.gguf";
};

TEST_F(Gguf, metadata_of_every_type) {
  Writer w;
  w.header(0, 14);
  w.key("u8", 0)
      .put<std::uint8_t>(200)
      .key("i8", 1)
      .put<std::int8_t>(-3)
      .key("u16", 2)
      .put<std::uint16_t>(60000)
      .key("i16", 3)
      .put<std::int16_t>(-300);
  w.key("u32", 4)
      .put<std::uint32_t>(4000000000U)
      .key("i32", 5)
      .put<std::int32_t>(-70000)
      .key("f32", 6)
      .put(1.5F)
      .key("bool", 7)
      .put<std::uint8_t>(1);
  w.key("string", kString)
      .text("h\xc3\xa9")
      .key("u64", 10)
      .put<std::uint64_t>(~0ULL)
      .key("i64", 11)
      .put<std::int64_t>(-1)
      .key("f64", 12)
      .put(0.1);
  w.key("array", kArray).put(kString).put<std::uint64_t>(2).text("a").text("b");
  w.key("nested", kArray).put(kArray).put<std::uint64_t>(1).put(kU32).put<std::uint64_t>(2).put<std::uint32_t>(7).put<std::uint32_t>(8);
  const GgufFile file = open(w);
  EXPECT_EQ(file.metadata(),
            Json::parse(R"({"u8":200,"i8":-3,"u16":60000,"i16":-300,"u32":4000000000,"i32":-70000,"f32":1.5,"bool":true,"string":"hé",
    "u64":18446744073709551615,"i64":-1,"f64":0.1,"array":["a","b"],"nested":[[7,8]]})"));
}

TEST_F(Gguf, plain_types_are_widened_and_shapes_reversed) {
  Writer w;
  w.header(3, 0).tensor("f32", {3, 2}, kF32, 0).tensor("f16", {2}, kF16, 32).tensor("bf16", {2}, kBF16, 64).align();
  for (int i = 0; i < 6; ++i) w.put(static_cast<float>(i));
  w.align().put<std::uint16_t>(0x3c00).put<std::uint16_t>(0xc100).align();  // 1, -2.5
  w.put<std::uint16_t>(0x3f80).put<std::uint16_t>(0xc020).align();          // 1, -2.5
  const GgufFile file = open(w);
  EXPECT_TRUE(at::equal(file.tensor("f32"), at::arange(6).to(c10::kFloat).reshape({2, 3})));
  EXPECT_TRUE(at::equal(file.tensor("f16"), at::tensor({1.0F, -2.5F})));
  EXPECT_TRUE(at::equal(file.tensor("bf16"), at::tensor({1.0F, -2.5F})));
}

TEST_F(Gguf, blocks_are_dequantised) {
  Writer w;
  w.header(3, 0).tensor("q4_0", {64}, kQ4_0, 0).tensor("q4_1", {32}, kQ4_1, 64).tensor("q8_0", {32}, kQ8_0, 96).align();
  for (const std::uint16_t d : {std::uint16_t{0x3800}, std::uint16_t{0xbc00}}) {  // 0.5, -1
    w.put(d);
    for (int j = 0; j < 16; ++j) w.put(static_cast<std::uint8_t>(j | (15 - j) << 4));
  }
  w.align().put<std::uint16_t>(0x3400).put<std::uint16_t>(0x4200);  // 0.25, 3
  for (int j = 0; j < 16; ++j) w.put(static_cast<std::uint8_t>(j | (15 - j) << 4));
  w.align().put<std::uint16_t>(0x3000);  // 0.125
  for (int j = 0; j < 32; ++j) w.put(static_cast<std::int8_t>(8 * j - 128));
  const GgufFile file = open(w);
  const Tensor q4_0 = file.tensor("q4_0"), q4_1 = file.tensor("q4_1"), q8_0 = file.tensor("q8_0");
  for (int j = 0; j < 16; ++j) {
    EXPECT_EQ(q4_0[j].item<float>(), 0.5F * static_cast<float>(j - 8)) << j;
    EXPECT_EQ(q4_0[16 + j].item<float>(), 0.5F * static_cast<float>(7 - j)) << j;
    EXPECT_EQ(q4_0[32 + j].item<float>(), -static_cast<float>(j - 8)) << j;
    EXPECT_EQ(q4_1[j].item<float>(), 0.25F * static_cast<float>(j) + 3) << j;
    EXPECT_EQ(q4_1[16 + j].item<float>(), 0.25F * static_cast<float>(15 - j) + 3) << j;
  }
  for (int j = 0; j < 32; ++j) EXPECT_EQ(q8_0[j].item<float>(), static_cast<float>(j - 16)) << j;
}

TEST_F(Gguf, alignment_of_the_file_is_followed) {
  Writer w;
  w.header(1, 1).key("general.alignment", kU32).put<std::uint32_t>(64).tensor("a", {1}, kF32, 64).align(64);
  w.bytes.append(64, '\0');
  w.put(4.0F);
  EXPECT_EQ(open(w).tensor("a").item<float>(), 4.0F);
  for (const std::uint32_t alignment : {0U, 3U, 48U, 1U << 30}) {
    Writer bad;
    bad.header(1, 1).key("general.alignment", kU32).put(alignment).tensor("a", {1}, kF32, 0).align(64).put(4.0F);
    expect_refused(bad, "general.alignment");
  }
  Writer text;
  text.header(0, 1).key("general.alignment", kString).text("32");
  expect_refused(text, "general.alignment");
}

TEST_F(Gguf, truncated_anywhere_is_refused) {
  Writer w;
  w.header(2, 2)
      .key("s", kString)
      .text("some text")
      .key("array", kArray)
      .put(kU32)
      .put<std::uint64_t>(3)
      .put<std::uint32_t>(1)
      .put<std::uint32_t>(2)
      .put<std::uint32_t>(3);
  w.tensor("a", {2, 2}, kF32, 0).tensor("q", {32}, kQ8_0, 32).align();
  w.put(1.0F).put(2.0F).put(3.0F).put(4.0F).align();
  w.bytes.append(34, 'x');
  EXPECT_EQ(failure(w), "nothing was thrown");
  const std::string whole = w.bytes;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    w.bytes = whole.substr(0, size);
    EXPECT_NE(failure(w), "nothing was thrown") << size << " of " << whole.size() << " bytes";
  }
}

TEST_F(Gguf, counts_and_lengths_that_cannot_be_true) {
  expect_refused(Writer().header(~0ULL, 0), "claims");
  expect_refused(Writer().header(0, 1ULL << 62), "claims");
  expect_refused(Writer().header(0, 1).put<std::uint64_t>(~0ULL), "claims a length");
  expect_refused(Writer().header(0, 1).key("k", kString).put<std::uint64_t>(1 << 20), "the file ends within");
  expect_refused(Writer().header(0, 1).key("k", kArray).put(kU32).put<std::uint64_t>(~0ULL), "an array claims");
  expect_refused(Writer().header(0, 1).key("k", kArray).put(kU32).put<std::uint64_t>(100).put<std::uint32_t>(1), "an array claims");
  expect_refused(Writer().header(1, 0).tensor("t", {1ULL << 63}, kF32, 0).align(), "absurd dimension");
  expect_refused(Writer().header(1, 0).tensor("t", {1ULL << 40, 1ULL << 40}, kF32, 0).align(), "overflows");
  expect_refused(Writer().header(1, 0).tensor("t", {1, 1, 1, 1, 1}, kF32, 0).align(), "5 dimensions");
  expect_refused(Writer().header(1, 0).tensor("t", {1}, kF32, ~0ULL - 31).align(), "outside the file");
  expect_refused(Writer().header(1, 0).tensor("t", {1}, kF32, 4).align().put(1.0F).put(1.0F), "misaligned");
  expect_refused(Writer().header(1, 0).tensor("t", {16, 2}, kQ8_0, 0).align().put(1.0F), "do not fit Q8_0's blocks");
}

TEST_F(Gguf, broken_structure) {
  Writer w;
  w.bytes = "GGUX";
  expect_refused(w, "does not begin with 'GGUF'");
  w.bytes = "";
  EXPECT_NE(failure(w), "nothing was thrown");
  expect_refused(Writer().header(0, 0, 1), "version 1");
  expect_refused(Writer().header(0, 0, 0x03000000), "version");
  expect_refused(Writer().header(0, 1).key("k", 99).put<std::uint32_t>(0), "unknown value type 99");
  expect_refused(Writer().header(0, 2).key("k", 7).put<std::uint8_t>(0).key("k", 7).put<std::uint8_t>(0), "'k' stands twice");
  expect_refused(Writer().header(2, 0).tensor("t", {}, kF32, 0).tensor("t", {}, kF32, 0).align().put(1.0F), "'t' stands twice");
  Writer deep;
  deep.header(0, 1).key("k", kArray);
  for (int i = 0; i < 1000; ++i) deep.put(kArray).put<std::uint64_t>(1);
  expect_refused(deep, "nested too deeply");
}

TEST_F(Gguf, a_type_that_is_not_read_is_refused_when_it_is_asked_for) {
  Writer w;
  w.header(2, 0).tensor("k", {256}, 12, 0).tensor("a", {1}, kF32, 0).align().put(2.0F);
  const GgufFile file = open(w);
  EXPECT_EQ(file.tensor("a").item<float>(), 2.0F);
  try {
    (void)file.tensor("k");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("tensor 'k' has ggml type 12"), std::string::npos) << e.what();
  }
  EXPECT_THROW((void)file.tensor("nowhere"), Error);
}

}  // namespace
}  // namespace assay
