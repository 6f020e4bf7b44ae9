#pragma once
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "assay/base/files.h"
#include "assay/tensor/tensor.h"

namespace assay {

/// A safetensors file, mapped. The header is checked in full on opening: length, JSON, dtypes, shapes, offsets inside the file, no
/// overlaps, no overflow. Source of the format: huggingface/safetensors.
class SafetensorsFile {
 public:
  struct Entry {
    std::string dtype;  ///< "F32", "BF16", ...
    std::vector<std::int64_t> shape;
    std::size_t begin = 0, end = 0;  ///< byte range after the header
  };
  explicit SafetensorsFile(const std::filesystem::path& path);

  [[nodiscard]] const std::map<std::string, Entry>& entries() const { return entries_; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }
  [[nodiscard]] bool has(const std::string& name) const { return entries_.contains(name); }
  /// A copy that owns its memory. Errors name file and tensor.
  [[nodiscard]] Tensor tensor(const std::string& name) const;
  [[nodiscard]] NamedTensors all() const;

 private:
  MappedFile file_;
  std::size_t data_begin_ = 0;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

/// Writes atomically, tensors in order of name, each made contiguous on the CPU.
void save_safetensors(const std::filesystem::path& path, const NamedTensors& tensors,
                      const std::map<std::string, std::string>& metadata = {});

/// The tensors of a Hugging Face folder: model.safetensors, or the shards that model.safetensors.index.json names. Mapped; nothing is
/// copied before it is asked for.
class SafetensorsFolder {
 public:
  explicit SafetensorsFolder(const std::filesystem::path& folder);
  [[nodiscard]] std::set<std::string> names() const;
  [[nodiscard]] Tensor tensor(const std::string& name) const;

 private:
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::size_t> file_of_;  // tensor -> index into files_
};

}  // namespace assay
