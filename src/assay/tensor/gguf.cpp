#include "assay/tensor/gguf.h"

#include <ATen/ops/empty.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "assay/base/error.h"

namespace assay {
namespace {

constexpr std::uint64_t kMaxEntries = 1u << 20, kMaxArray = 1u << 24, kMaxString = 1u << 26;
constexpr std::uint32_t kMaxDims = 4;  // GGML_MAX_DIMS

/// ggml's types that are read here: values a block and bytes a block.
struct BlockType {
  std::uint32_t number;
  std::string_view name;
  std::uint64_t values, bytes;
};
constexpr BlockType kTypes[] = {{0, "F32", 1, 4},    {1, "F16", 1, 2},    {2, "Q4_0", 32, 18},
                                {3, "Q4_1", 32, 20}, {8, "Q8_0", 32, 34}, {30, "BF16", 1, 2}};

const BlockType* find_type(std::uint32_t number) {
  const auto* it = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const BlockType& t) { return t.number == number; });
  return it == std::end(kTypes) ? nullptr : it;
}

/// Reads little-endian values, never beyond the end.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string path) : bytes_(bytes), path_(std::move(path)) {}

  template <class T>
  T value(const char* what) {
    T out;
    need(sizeof(T), what);
    std::memcpy(&out, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return out;
  }
  std::string text(const char* what) {
    const auto size = value<std::uint64_t>(what);
    if (size > kMaxString) broken(std::string(what) + " claims a length of " + std::to_string(size));
    need(size, what);
    std::string out(reinterpret_cast<const char*>(bytes_.data()) + at_, size);
    at_ += size;
    return out;
  }
  [[noreturn]] void broken(const std::string& what) const {
    throw Error("gguf", path_ + ": " + what + " (at byte " + std::to_string(at_) + ")", "the file is damaged or no GGUF file");
  }
  [[nodiscard]] std::size_t at() const { return at_; }
  [[nodiscard]] std::uint64_t left() const { return bytes_.size() - at_; }

 private:
  void need(std::uint64_t size, const char* what) const {
    if (size > bytes_.size() - at_) broken(std::string("the file ends within ") + what);
  }
  std::span<const std::byte> bytes_;
  std::string path_;
  std::size_t at_ = 0;
};

Json read_value(Reader& in, std::uint32_t type, int depth) {
  switch (type) {
    case 0:
      return in.value<std::uint8_t>("a value");
    case 1:
      return in.value<std::int8_t>("a value");
    case 2:
      return in.value<std::uint16_t>("a value");
    case 3:
      return in.value<std::int16_t>("a value");
    case 4:
      return in.value<std::uint32_t>("a value");
    case 5:
      return in.value<std::int32_t>("a value");
    case 6:
      return in.value<float>("a value");
    case 7:
      return in.value<std::uint8_t>("a value") != 0;
    case 8:
      return in.text("a string");
    case 10:
      return in.value<std::uint64_t>("a value");
    case 11:
      return in.value<std::int64_t>("a value");
    case 12:
      return in.value<double>("a value");
    case 9: {
      const auto element = in.value<std::uint32_t>("an array's type");
      const auto n = in.value<std::uint64_t>("an array's length");
      // Each element takes a byte at least: a count beyond what is left cannot be true.
      if (n > kMaxArray || n > in.left()) in.broken("an array claims " + std::to_string(n) + " elements");
      if (depth > 2) in.broken("arrays are nested too deeply");
      Json out = Json::array();
      for (std::uint64_t i = 0; i < n; ++i) out.push_back(read_value(in, element, depth + 1));
      return out;
    }
    default:
      in.broken("unknown value type " + std::to_string(type));
  }
}

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) : file_(path), metadata_(Json::object()) {
  Reader in(file_.bytes(), path.string());
  if (file_.bytes().size() < 4 || std::memcmp(file_.bytes().data(), "GGUF", 4) != 0)
    throw Error("gguf", path.string() + " is no GGUF file: it does not begin with 'GGUF'");
  (void)in.value<std::uint32_t>("the magic");
  const auto version = in.value<std::uint32_t>("the version");
  if (version != 2 && version != 3) in.broken("version " + std::to_string(version) + " is not supported; expected 2 or 3");
  const auto n_tensors = in.value<std::uint64_t>("the tensor count"), n_pairs = in.value<std::uint64_t>("the metadata count");
  if (n_tensors > kMaxEntries || n_pairs > kMaxEntries)
    in.broken("claims " + std::to_string(n_tensors) + " tensors and " + std::to_string(n_pairs) + " metadata entries");
  std::set<std::string> keys;
  for (std::uint64_t i = 0; i < n_pairs; ++i) {
    const std::string key = in.text("a metadata key");
    const auto type = in.value<std::uint32_t>("a metadata type");
    if (!keys.insert(key).second) in.broken("metadata key '" + key + "' stands twice");
    metadata_.get_ref<Json::object_t&>().emplace_back(key, read_value(in, type, 0));  // operator[] would search every key before it
  }
  for (std::uint64_t i = 0; i < n_tensors; ++i) {
    const std::string name = in.text("a tensor's name");
    Entry entry;
    const auto rank = in.value<std::uint32_t>("a tensor's rank");
    if (rank > kMaxDims) in.broken("tensor '" + name + "' has " + std::to_string(rank) + " dimensions; at most 4 are allowed");
    for (std::uint32_t d = 0; d < rank; ++d) {
      const auto n = in.value<std::uint64_t>("a tensor's shape");
      if (n > static_cast<std::uint64_t>(INT64_MAX)) in.broken("tensor '" + name + "' has an absurd dimension");
      entry.shape.insert(entry.shape.begin(), static_cast<std::int64_t>(n));
    }
    entry.type = in.value<std::uint32_t>("a tensor's type");
    entry.offset = in.value<std::uint64_t>("a tensor's offset");
    if (!entries_.emplace(name, std::move(entry)).second) in.broken("tensor '" + name + "' stands twice");
  }
  std::uint64_t alignment = 32;
  if (const auto it = metadata_.find("general.alignment"); it != metadata_.end()) {
    if (!it->is_number_unsigned()) in.broken("general.alignment is no whole number");
    alignment = it->get<std::uint64_t>();
    if (alignment == 0 || alignment > (1u << 20) || (alignment & (alignment - 1)) != 0)
      in.broken("general.alignment is " + std::to_string(alignment) + "; expected a power of two");
  }
  data_begin_ = (in.at() + alignment - 1) / alignment * alignment;
  const std::uint64_t data_size = data_begin_ <= file_.bytes().size() ? file_.bytes().size() - data_begin_ : 0;
  for (const auto& [name, entry] : entries_) {
    const BlockType* type = find_type(entry.type);
    if (!type) continue;  // refused when it is asked for: other tensors of the file may still be of use
    std::uint64_t values = 1;
    for (const std::int64_t n : entry.shape)
      if (__builtin_mul_overflow(values, static_cast<std::uint64_t>(n), &values) || values > (std::uint64_t{1} << 48))
        in.broken("tensor '" + name + "' has a shape whose size overflows");
    if (!entry.shape.empty() && static_cast<std::uint64_t>(entry.shape.back()) % type->values != 0)
      in.broken("tensor '" + name + "': rows of " + std::to_string(entry.shape.back()) + " do not fit " + std::string(type->name) +
                "'s blocks");
    const std::uint64_t size = values / type->values * type->bytes;
    if (entry.offset % alignment != 0 || entry.offset > data_size || size > data_size - entry.offset)
      in.broken("tensor '" + name + "' lies outside the file or is misaligned: offset " + std::to_string(entry.offset) + ", " +
                std::to_string(size) + " bytes, data section of " + std::to_string(data_size));
  }
}

Tensor GgufFile::tensor(const std::string& name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) throw Error("gguf", file_.path().string() + " holds no tensor '" + name + "'");
  const Entry& entry = it->second;
  const BlockType* type = find_type(entry.type);
  if (!type)
    throw Error("gguf",
                file_.path().string() + ": tensor '" + name + "' has ggml type " + std::to_string(entry.type) +
                    "; supported are F32, F16, BF16, Q4_0, Q4_1, Q8_0",
                "convert the file to one of these types");
  Tensor out = at::empty(entry.shape, c10::kFloat);
  if (out.numel() == 0) return out;
  float* y = out.data_ptr<float>();
  const auto* x = reinterpret_cast<const std::uint8_t*>(file_.bytes().data() + data_begin_ + entry.offset);
  const std::int64_t blocks = out.numel() / static_cast<std::int64_t>(type->values);
  const auto half_at = [](const std::uint8_t* p) {
    std::uint16_t bits;
    std::memcpy(&bits, p, 2);
    return static_cast<float>(c10::Half(bits, c10::Half::from_bits()));
  };
  switch (entry.type) {
    case 0:
      std::memcpy(y, x, static_cast<std::size_t>(out.numel()) * 4);
      break;
    case 1:
      for (std::int64_t i = 0; i < blocks; ++i) y[i] = half_at(x + 2 * i);
      break;
    case 30:
      for (std::int64_t i = 0; i < blocks; ++i) {
        std::uint16_t bits;
        std::memcpy(&bits, x + 2 * i, 2);
        y[i] = static_cast<float>(c10::BFloat16(bits, c10::BFloat16::from_bits()));
      }
      break;
    case 2:  // d, 16 bytes of 4-bit values; y = (q - 8) d; low nibbles are the first half
      for (std::int64_t i = 0; i < blocks; ++i, x += 18, y += 32) {
        const float d = half_at(x);
        for (int j = 0; j < 16; ++j) {
          y[j] = static_cast<float>((x[2 + j] & 15) - 8) * d;
          y[j + 16] = static_cast<float>((x[2 + j] >> 4) - 8) * d;
        }
      }
      break;
    case 3:  // d, m; y = q d + m
      for (std::int64_t i = 0; i < blocks; ++i, x += 20, y += 32) {
        const float d = half_at(x), m = half_at(x + 2);
        for (int j = 0; j < 16; ++j) {
          y[j] = static_cast<float>(x[4 + j] & 15) * d + m;
          y[j + 16] = static_cast<float>(x[4 + j] >> 4) * d + m;
        }
      }
      break;
    default:  // Q8_0: d, 32 signed bytes
      for (std::int64_t i = 0; i < blocks; ++i, x += 34, y += 32) {
        const float d = half_at(x);
        for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(static_cast<std::int8_t>(x[2 + j])) * d;
      }
  }
  return out;
}

}  // namespace assay
