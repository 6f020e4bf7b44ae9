#include "assay/tensor/safetensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "write_plainly.h"

namespace assay {
namespace {

class Safetensors : public testing::Test {
 protected:
  /// Length, header, data, as the format has them.
  void write(const std::string& header, std::size_t data_bytes, std::int64_t length = -1) {
    const std::uint64_t size = length < 0 ? header.size() : static_cast<std::uint64_t>(length);
    std::string bytes(reinterpret_cast<const char*>(&size), 8);
    write_plainly(path, bytes + header + std::string(data_bytes, '\1'));
  }
  std::string failure() {
    try {
      SafetensorsFile file(path);
    } catch (const Error& e) {
      EXPECT_EQ(e.operation(), "safetensors");
      EXPECT_NE(e.message().find(path.string()), std::string::npos) << e.what();
      return e.message();
    }
    return "nothing was thrown";
  }
  void expect_refused(const std::string& header, std::size_t data_bytes, const std::string& part) {
    write(header, data_bytes);
    EXPECT_NE(failure().find(part), std::string::npos) << header << "\n  gave " << failure();
  }
  TemporaryFolder temporary;
  const fs::path path = temporary.path() / "t.safetensors";
};

TEST_F(Safetensors, every_dtype_comes_back) {
  NamedTensors tensors;
  for (const auto type : {c10::kDouble, c10::kFloat, c10::kHalf, c10::kBFloat16, c10::kLong, c10::kInt, c10::kShort, c10::kChar, c10::kByte,
                          c10::kBool, c10::kUInt16, c10::kUInt32, c10::kUInt64, c10::kFloat8_e4m3fn, c10::kFloat8_e5m2})
    tensors[c10::toString(type)] =
        at::arange(12, c10::kFloat).sub(type == c10::kFloat || type == c10::kLong ? 5 : 0).to(type).reshape({3, 4});
  tensors["scalar"] = at::full({}, 2.5);
  tensors["empty"] = at::empty({0, 7});
  tensors["a name with \"quotes\" and ünïcode"] = at::ones({1});
  save_safetensors(path, tensors, {{"format", "pt"}, {"note", "x"}});
  const SafetensorsFile file(path);
  EXPECT_EQ(file.metadata().at("note"), "x");
  const NamedTensors back = file.all();
  ASSERT_EQ(back.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const Tensor& got = back.at(name);
    EXPECT_EQ(got.scalar_type(), tensor.scalar_type()) << name;
    ASSERT_EQ(got.sizes(), tensor.sizes()) << name;
    if (tensor.nbytes() == 0) continue;  // no bytes, no address
    EXPECT_EQ(std::memcmp(got.data_ptr(), tensor.data_ptr(), static_cast<std::size_t>(tensor.nbytes())), 0) << name;
  }
}

TEST_F(Safetensors, views_are_written_as_they_read) {
  const Tensor base = at::arange(6).to(c10::kFloat).reshape({2, 3});
  save_safetensors(path, {{"t", base.t()}, {"column", base.select(1, 1)}});
  const SafetensorsFile file(path);
  EXPECT_TRUE(at::equal(file.tensor("t"), base.t()));
  EXPECT_TRUE(at::equal(file.tensor("column"), base.select(1, 1)));
}

TEST_F(Safetensors, tensors_begin_aligned_and_in_order_of_name) {
  save_safetensors(path, {{"b", at::ones({1}, c10::kFloat)}, {"a", at::ones({3}, c10::kByte)}});
  std::uint64_t header = 0;
  const std::string bytes = read_text(path);
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0U);
  EXPECT_EQ(SafetensorsFile(path).entries().at("a").begin, 0U);
  EXPECT_EQ(bytes.size(), 8 + header + 7);
}

TEST_F(Safetensors, a_tensor_that_is_not_there_is_named) {
  save_safetensors(path, {{"a", at::ones({1})}});
  try {
    (void)SafetensorsFile(path).tensor("b");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(path.string() + " holds no tensor 'b'"), std::string::npos) << e.what();
  }
}

TEST_F(Safetensors, dtypes_outside_the_format_are_refused_on_saving) {
  EXPECT_THROW(save_safetensors(path, {{"z", at::zeros({2}, c10::kComplexDouble)}}), Error);
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(Safetensors, truncated_anywhere_is_refused) {
  save_safetensors(path, {{"a", at::ones({2, 2})}, {"b", at::ones({3}, c10::kLong)}});
  const std::string whole = read_text(path);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_plainly(path, std::string_view(whole).substr(0, size));
    EXPECT_NE(failure(), "nothing was thrown") << size << " of " << whole.size() << " bytes";
  }
}

TEST_F(Safetensors, header_lengths_that_cannot_be_true) {
  write("{}", 0, std::int64_t{1} << 40);
  EXPECT_NE(failure().find("over the limit"), std::string::npos) << failure();
  write("{}", 0, INT64_MAX);
  EXPECT_NE(failure().find("over the limit"), std::string::npos) << failure();
  write("{}", 0, 3);
  EXPECT_NE(failure().find("beyond the end"), std::string::npos) << failure();
  write_plainly(path, std::string(8, '\xff') + "{}");
  EXPECT_NE(failure().find("over the limit"), std::string::npos) << failure();
}

TEST_F(Safetensors, hostile_headers) {
  const auto one = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  expect_refused("", 0, "not valid JSON");
  expect_refused("{\"a\":", 0, "not valid JSON");
  expect_refused("[1]", 0, "no JSON object");
  expect_refused("{\"a\":\"\xff\"}", 0, "not valid JSON");
  expect_refused("{} x", 0, "not valid JSON");
  expect_refused(R"({"a":3})", 4, "lacks dtype");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1]}})", 4, "lacks dtype");
  expect_refused(one("F33", "[1]", "[0,4]"), 4, "unknown dtype 'F33'");
  expect_refused(one("F32", "[-1]", "[0,4]"), 4, "no whole number");
  expect_refused(one("F32", "[1.5]", "[0,4]"), 4, "no whole number");
  expect_refused(one("F32", "[\"1\"]", "[0,4]"), 4, "no whole number");
  expect_refused(one("F32", "[1,1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "dimensions");
  expect_refused(one("F32", "[4294967296,4294967296]", "[0,4]"), 4, "overflows");
  expect_refused(one("F32", "[18446744073709551615]", "[0,4]"), 4, "overflows");
  expect_refused(one("F32", "[9223372036854775808]", "[0,4]"), 4, "overflows");
  expect_refused(one("F32", "[4611686018427387905]", "[0,4]"), 4, "overflows");  // times 4 wraps to 4
  expect_refused(one("F32", "[1]", "[0,8]"), 8, "its dtype and shape need 4");
  expect_refused(one("F32", "[1]", "[0,4]"), 3, "outside the file");
  expect_refused(one("F32", "[1]", "[4,0]"), 8, "outside the file");
  expect_refused(one("F32", "[1]", "[18446744073709551612,18446744073709551616]"), 8, "no whole number");
  expect_refused(one("F32", "[1]", "[-4,0]"), 8, "no whole number");
  expect_refused(one("F32", "[1]", "[0]"), 8, "lacks dtype");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8,
                 "'a' stands twice");
  expect_refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8,
                 "overlap");
  expect_refused(R"({"__metadata__":{"format":1}})", 0, "is no string");
  expect_refused(R"({"__metadata__":[]})", 0, "is no object");
}

TEST_F(Safetensors, nesting_is_cut_off_before_the_stack_is) {
  write(std::string(1 << 20, '['), 0);
  EXPECT_NE(failure().find("nested too deeply"), std::string::npos) << failure();
  std::string objects;
  for (int i = 0; i < 100000; ++i) objects += "{\"a\":";
  write(objects, 0);
  EXPECT_NE(failure().find("nested too deeply"), std::string::npos) << failure();
}

TEST_F(Safetensors, a_header_of_very_many_tensors_is_read_in_reasonable_time) {
  std::string header = "{";
  for (int i = 0; i < 100000; ++i)
    header += (i ? ",\"t" : "\"t") + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  write(header + "}", 0);
  EXPECT_EQ(SafetensorsFile(path).entries().size(), 100000U);
}

}  // namespace
}  // namespace assay
