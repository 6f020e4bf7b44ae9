#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "assay/base/files.h"
#include "assay/base/json.h"
#include "assay/tensor/tensor.h"

namespace assay {

/// A GGUF file (versions 2 and 3), mapped; everything is bounds-checked on opening. Tensors: F32, F16, BF16, Q4_0, Q4_1, Q8_0.
/// Source of the format: ggml's gguf document.
class GgufFile {
 public:
  struct Entry {
    std::uint32_t type = 0;           ///< ggml type number
    std::vector<std::int64_t> shape;  ///< row-major (the reverse of the file's order)
    std::uint64_t offset = 0;         ///< in the data section
  };
  explicit GgufFile(const std::filesystem::path& path);

  /// Key-value pairs as JSON (arrays included), for instance "llama.block_count".
  [[nodiscard]] const Json& metadata() const { return metadata_; }
  [[nodiscard]] const std::map<std::string, Entry>& entries() const { return entries_; }
  [[nodiscard]] const std::filesystem::path& path() const { return file_.path(); }
  [[nodiscard]] bool has(const std::string& name) const { return entries_.contains(name); }
  /// De-quantised to f32 (F16 and BF16 widened).
  [[nodiscard]] Tensor tensor(const std::string& name) const;

 private:
  MappedFile file_;
  std::size_t data_begin_ = 0;
  Json metadata_;
  std::map<std::string, Entry> entries_;
};

}  // namespace assay
