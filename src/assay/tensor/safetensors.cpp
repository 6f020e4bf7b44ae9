#include "assay/tensor/safetensors.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <set>

#include "assay/base/error.h"
#include "assay/base/json.h"

namespace assay {
namespace {

constexpr std::size_t kMaxHeader = 100u << 20;  // the limit of the reference implementation
constexpr std::size_t kMaxRank = 8;

struct Dtype {
  std::string_view name;
  c10::ScalarType type;
  std::size_t size;
};
constexpr Dtype kDtypes[] = {{"F64", c10::kDouble, 8},
                             {"F32", c10::kFloat, 4},
                             {"F16", c10::kHalf, 2},
                             {"BF16", c10::kBFloat16, 2},
                             {"I64", c10::kLong, 8},
                             {"I32", c10::kInt, 4},
                             {"I16", c10::kShort, 2},
                             {"I8", c10::kChar, 1},
                             {"U8", c10::kByte, 1},
                             {"BOOL", c10::kBool, 1},
                             {"U16", c10::kUInt16, 2},
                             {"U32", c10::kUInt32, 4},
                             {"U64", c10::kUInt64, 8},
                             {"F8_E4M3", c10::kFloat8_e4m3fn, 1},
                             {"F8_E5M2", c10::kFloat8_e5m2, 1}};

const Dtype* find_dtype(std::string_view name) {
  const auto* it = std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](const Dtype& d) { return d.name == name; });
  return it == std::end(kDtypes) ? nullptr : it;
}

const Dtype& dtype_of(const Tensor& tensor, const std::string& name) {
  for (const Dtype& d : kDtypes)
    if (d.type == tensor.scalar_type()) return d;
  throw Error("safetensors",
              "tensor '" + name + "' has the dtype " + c10::toString(tensor.scalar_type()) + ", which the format cannot hold");
}

[[noreturn]] void broken(const std::filesystem::path& path, const std::string& what) {
  throw Error("safetensors", path.string() + ": " + what, "the file is damaged or no safetensors file");
}

/// Walks the header before it is parsed: what a parser that builds values would not notice (names that stand twice, of which two readers
/// may see different ones) or would die of (nesting).
struct HeaderCheck : nlohmann::json_sax<nlohmann::json> {
  explicit HeaderCheck(const std::filesystem::path& file) : path(file) {}
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return enter(); }
  bool start_array(std::size_t) override { return enter(); }
  bool end_object() override { return --depth >= 0; }
  bool end_array() override { return --depth >= 0; }
  bool key(string_t& name) override {
    if (depth == 1 && !seen.insert(name).second) broken(path, "tensor '" + name + "' stands twice in the header");
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& e) override {
    broken(path, std::string("header is not valid JSON: ") + e.what());
  }
  bool enter() {
    if (++depth > 8) broken(path, "header is nested too deeply");
    return true;
  }
  const std::filesystem::path& path;
  std::set<std::string> seen;
  int depth = 0;
};

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const auto bytes = file_.bytes();
  if (bytes.size() < 8) broken(path, "holds " + std::to_string(bytes.size()) + " bytes; a header needs at least 8");
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), 8);
  if (header_size > kMaxHeader)
    broken(path, "header length " + std::to_string(header_size) + " is over the limit of " + std::to_string(kMaxHeader));
  if (header_size > bytes.size() - 8) broken(path, "header length " + std::to_string(header_size) + " goes beyond the end of the file");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, header_size);
  HeaderCheck check(path);
  nlohmann::json::sax_parse(text, &check);
  // Sorted: keys of an ordered object are found by linear search, and a header may hold very many.
  const auto header = nlohmann::json::parse(text);
  if (!header.is_object()) broken(path, "header is no JSON object");
  data_begin_ = 8 + header_size;
  const std::size_t data_size = bytes.size() - data_begin_;

  std::vector<std::pair<std::size_t, std::size_t>> ranges;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) broken(path, "__metadata__ is no object");
      for (const auto& [key, text_value] : value.items()) {
        if (!text_value.is_string()) broken(path, "__metadata__ '" + key + "' is no string");
        metadata_[key] = text_value.get<std::string>();
      }
      continue;
    }
    const std::string where = "tensor '" + name + "'";
    if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() || !value.contains("shape") ||
        !value["shape"].is_array() || !value.contains("data_offsets") || !value["data_offsets"].is_array() ||
        value["data_offsets"].size() != 2)
      broken(path, where + " lacks dtype, shape or data_offsets");
    Entry entry;
    entry.dtype = value["dtype"].get<std::string>();
    const Dtype* dtype = find_dtype(entry.dtype);
    if (!dtype) broken(path, where + " has the unknown dtype '" + entry.dtype + "'");
    if (value["shape"].size() > kMaxRank) broken(path, where + " has more than " + std::to_string(kMaxRank) + " dimensions");
    std::size_t size = dtype->size;
    for (const auto& d : value["shape"]) {
      if (!d.is_number_unsigned()) broken(path, where + " has a dimension that is no whole number of 0 or more");
      const auto n = d.get<std::uint64_t>();
      if (n > static_cast<std::uint64_t>(INT64_MAX) || __builtin_mul_overflow(size, n, &size))
        broken(path, where + " has a shape whose size overflows");
      entry.shape.push_back(static_cast<std::int64_t>(n));
    }
    for (const auto& offset : value["data_offsets"])
      if (!offset.is_number_unsigned()) broken(path, where + " has an offset that is no whole number of 0 or more");
    entry.begin = value["data_offsets"][0].get<std::size_t>();
    entry.end = value["data_offsets"][1].get<std::size_t>();
    if (entry.begin > entry.end || entry.end > data_size)
      broken(path, where + " lies outside the file: " + std::to_string(entry.begin) + " to " + std::to_string(entry.end) + " of " +
                       std::to_string(data_size) + " bytes");
    if (entry.end - entry.begin != size)
      broken(path,
             where + " holds " + std::to_string(entry.end - entry.begin) + " bytes; its dtype and shape need " + std::to_string(size));
    if (size > 0) ranges.emplace_back(entry.begin, entry.end);
    entries_.emplace(name, std::move(entry));
  }
  std::sort(ranges.begin(), ranges.end());
  for (std::size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].first < ranges[i - 1].second) broken(path, "two tensors overlap at byte " + std::to_string(ranges[i].first));
  if (const std::size_t end = ranges.empty() ? 0 : ranges.back().second; end != data_size)
    broken(path, std::to_string(data_size - end) + " bytes behind the last tensor belong to none");
}

Tensor SafetensorsFile::tensor(const std::string& name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) throw Error("safetensors", file_.path().string() + " holds no tensor '" + name + "'");
  const Entry& entry = it->second;
  Tensor out = at::empty(entry.shape, find_dtype(entry.dtype)->type);
  if (entry.end > entry.begin) std::memcpy(out.data_ptr(), file_.bytes().data() + data_begin_ + entry.begin, entry.end - entry.begin);
  return out;
}

NamedTensors SafetensorsFile::all() const {
  NamedTensors out;
  for (const auto& [name, entry] : entries_) out.emplace(name, tensor(name));
  return out;
}

void save_safetensors(const std::filesystem::path& path, const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::vector<Tensor> data;
  std::size_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const Dtype& dtype = dtype_of(tensor, name);
    data.push_back(tensor.detach().cpu().contiguous());
    const std::size_t size = static_cast<std::size_t>(data.back().numel()) * dtype.size;
    header[name] = {{"dtype", dtype.name}, {"shape", data.back().sizes().vec()}, {"data_offsets", {offset, offset + size}}};
    offset += size;
  }
  std::string text = dump(header);
  text.append((8 - text.size() % 8) % 8, ' ');  // so that the data begin aligned
  write_atomically(path, [&](const AppendBytes& append) {
    const std::uint64_t size = text.size();
    append(std::as_bytes(std::span(&size, 1)));
    append(std::as_bytes(std::span(text)));
    for (const Tensor& t : data) append({static_cast<const std::byte*>(t.data_ptr()), static_cast<std::size_t>(t.nbytes())});
  });
}

SafetensorsFolder::SafetensorsFolder(const std::filesystem::path& folder) {
  const auto single = folder / "model.safetensors", index = folder / "model.safetensors.index.json";
  if (fs::exists(single)) {
    files_.emplace_back(single);
    for (const auto& [name, entry] : files_[0].entries()) file_of_[name] = 0;
    return;
  }
  if (!fs::exists(index)) throw Error("model load", folder.string() + " holds neither model.safetensors nor model.safetensors.index.json");
  std::map<std::string, std::size_t> known;
  const Json map = require<Json>(read_json(index), "weight_map", index.string());
  for (const auto& [name, file] : map.items()) {
    if (!file.is_string() || file.get<std::string>().empty() || fs::path(file.get<std::string>()).filename() != file.get<std::string>())
      throw Error("model load", index.string() + ": the shard of '" + name + "' is no plain file name");
    const std::string shard = file.get<std::string>();
    if (!known.contains(shard)) {
      if (!fs::exists(folder / shard))
        throw Error("model load", folder.string() + " lacks " + shard + ", which " + index.filename().string() + " names",
                    "the download is not complete");
      known[shard] = files_.size();
      files_.emplace_back(folder / shard);
    }
    if (!files_[known[shard]].has(name))
      throw Error("model load",
                  (folder / shard).string() + " lacks the tensor '" + name + "', which " + index.filename().string() + " places there");
    file_of_[name] = known[shard];
  }
}

std::set<std::string> SafetensorsFolder::names() const {
  std::set<std::string> out;
  for (const auto& [name, file] : file_of_) out.insert(name);
  return out;
}

Tensor SafetensorsFolder::tensor(const std::string& name) const {
  const auto it = file_of_.find(name);
  assert(it != file_of_.end());
  return files_[it->second].tensor(name);
}

}  // namespace assay
