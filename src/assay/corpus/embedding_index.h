#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "assay/base/files.h"
#include "assay/base/progress.h"
#include "assay/corpus/keyword_index.h"

namespace assay {

/// Texts to points; implemented where models are known.
class Embedder {
 public:
  virtual ~Embedder() = default;
  [[nodiscard]] virtual std::int64_t dimensions() const = 0;
  /// SHA-256 of what the points depend on.
  [[nodiscard]] virtual std::string identity() const = 0;
  /// The corpus' mean is taken off before points are compared: hidden states of a language model share one large direction.
  [[nodiscard]] virtual bool centred() const = 0;
  /// [texts, dimensions()], row by row; any length but 0.
  [[nodiscard]] virtual std::vector<float> embed(std::span<const std::string> texts) const = 0;
};

/// Points of the documents of a KeywordIndex, under the same numbers, for search by meaning. One file: a line of JSON ("format",
/// "documents", "dimensions", "embedder", "corpus", "centred"), then f32 rows of length 1, little-endian, and their mean (zeros where not
/// centred).
class EmbeddingIndex {
 public:
  struct Hit {
    std::int64_t id = 0;
    double score = 0;  ///< cosine, of centred points where the embedder asks for it
  };

  /// Writes `file`. What a killed build left beside it is gone on with, if corpus and embedder are the same.
  static void build(const std::filesystem::path& file, const std::filesystem::path& keyword_index, const Embedder& embedder,
                    Progress& progress = no_progress());

  /// Anything but an index is an Error.
  explicit EmbeddingIndex(const std::filesystem::path& file);
  [[nodiscard]] std::int64_t documents() const { return documents_; }
  [[nodiscard]] std::int64_t dimensions() const { return dimensions_; }
  /// Embedder::identity() of the one it was built with: queries must come from the same.
  [[nodiscard]] const std::string& embedder() const { return embedder_; }

  /// Best first, ties by number. `query` has dimensions() values; its length does not count.
  [[nodiscard]] std::vector<Hit> search(std::span<const float> query, std::int64_t limit = 10) const;
  /// Of the hits that a query text gives; an Error where the embedder is another one.
  [[nodiscard]] std::vector<Hit> search(const Embedder& embedder, const std::string& query, std::int64_t limit = 10) const;

 private:
  [[nodiscard]] std::span<const float> row(std::int64_t id) const;
  MappedFile data_;
  std::size_t begin_ = 0;  // of the rows, in bytes
  std::int64_t documents_ = 0, dimensions_ = 0;
  std::string embedder_;
  std::vector<float> mean_;     // [dimensions]
  std::vector<float> lengths_;  // of the centred rows
};

}  // namespace assay
