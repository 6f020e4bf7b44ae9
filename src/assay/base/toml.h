#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/base/json.h"

namespace assay {

/// A table of a TOML file. Every read names file, section and key in its errors, and remembers what was read: done() refuses keys that
/// nobody asked for, so that a misspelt setting never passes silently.
class TomlTable {
 public:
  static TomlTable from_file(const std::filesystem::path& path);
  static TomlTable from_text(std::string_view text, std::string name);

  [[nodiscard]] bool has(std::string_view key) const;
  /// A sub-table; an empty one where it is absent.
  [[nodiscard]] TomlTable table(std::string_view key) const;
  /// An array of tables; empty where absent.
  [[nodiscard]] std::vector<TomlTable> tables(std::string_view key) const;
  [[nodiscard]] std::vector<std::string> keys() const;

  // Typed reads; the one-argument forms throw where the key is absent.
  [[nodiscard]] std::int64_t integer(std::string_view key) const;
  [[nodiscard]] std::int64_t integer(std::string_view key, std::int64_t fallback) const;
  [[nodiscard]] double number(std::string_view key) const;
  [[nodiscard]] double number(std::string_view key, double fallback) const;
  [[nodiscard]] bool boolean(std::string_view key, bool fallback) const;
  [[nodiscard]] std::string string(std::string_view key) const;
  [[nodiscard]] std::string string(std::string_view key, std::string fallback) const;
  [[nodiscard]] std::vector<std::string> strings(std::string_view key) const;  // empty where absent
  [[nodiscard]] std::vector<double> numbers(std::string_view key) const;       // empty where absent

  /// Throws if this table or a sub-table that was opened holds a key that was never read.
  void done() const;
  /// The whole table as JSON, for a result's configuration.
  [[nodiscard]] Json to_json() const;
  /// "file.toml [section]", for errors of the caller.
  [[nodiscard]] std::string where() const;

 private:
  struct Node;
  explicit TomlTable(std::shared_ptr<Node> node) : node_(std::move(node)) {}
  std::shared_ptr<Node> node_;
};

}  // namespace assay
