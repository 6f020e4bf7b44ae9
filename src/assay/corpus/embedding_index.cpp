#include "assay/corpus/embedding_index.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "assay/base/error.h"
#include "assay/base/json.h"

namespace assay {
namespace {

constexpr const char* kEmbeddingFormat = "assay-embeddings-1";
constexpr std::int64_t kBatch = 64;              // texts embedded at a time: what a kill can lose
constexpr std::size_t kHeaderBytes = 1024;       // the first line is padded to this length, so that rows are aligned
constexpr std::int64_t kMostDimensions = 65536;  // far above any embedder

/// Eight sums side by side, so that the compiler can use vector registers without reordering a sum.
double dot(std::span<const float> a, std::span<const float> b) {
  float sums[8] = {};
  std::size_t i = 0;
  for (; i + 8 <= a.size(); i += 8)
    for (std::size_t k = 0; k < 8; ++k) sums[k] += a[i + k] * b[i + k];
  double total = 0;
  for (const float s : sums) total += static_cast<double>(s);
  for (; i < a.size(); ++i) total += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return total;
}

std::string header(const Embedder& embedder, std::int64_t documents, const std::string& corpus) {
  std::string line = dump(Json{{"format", kEmbeddingFormat},
                               {"documents", documents},
                               {"dimensions", embedder.dimensions()},
                               {"embedder", embedder.identity()},
                               {"corpus", corpus},
                               {"centred", embedder.centred()}});
  assert(line.size() < kHeaderBytes);
  line.resize(kHeaderBytes - 1, ' ');
  return line + '\n';
}

/// The partial file of a build: rows are appended batch by batch.
class Partial {
 public:
  Partial(const fs::path& file, const std::string& head, std::size_t row_bytes) : path_(file) {
    path_ += ".partial";
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) fail();
    std::string there(head.size(), '\0');
    const auto read = ::pread(fd_, there.data(), there.size(), 0);
    if (read == static_cast<ssize_t>(there.size()) && there == head) {
      const auto bytes = static_cast<std::size_t>(::lseek(fd_, 0, SEEK_END)) - head.size();
      rows_ = static_cast<std::int64_t>(bytes / row_bytes);
    } else {
      cut(0);
      append(head.data(), head.size());
    }
    cut(head.size() + static_cast<std::size_t>(rows_) * row_bytes);  // a torn row goes
  }
  ~Partial() { ::close(fd_); }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;

  [[nodiscard]] std::int64_t rows() const { return rows_; }
  void append(const void* data, std::size_t bytes) {
    const char* from = static_cast<const char*>(data);
    while (bytes > 0) {
      const auto written = ::write(fd_, from, bytes);
      if (written < 0) fail();
      from += written;
      bytes -= static_cast<std::size_t>(written);
    }
  }
  /// Everything that was written, from the header on.
  [[nodiscard]] std::vector<float> all_rows(std::size_t head, std::size_t n) const {
    std::vector<float> out(n);
    if (::pread(fd_, out.data(), n * sizeof(float), static_cast<off_t>(head)) != static_cast<ssize_t>(n * sizeof(float))) fail();
    return out;
  }
  void finish(const fs::path& file) {
    if (::fsync(fd_) != 0) fail();
    fs::rename(path_, file);
  }

 private:
  void cut(std::size_t bytes) {
    if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0 || ::lseek(fd_, 0, SEEK_END) < 0) fail();
  }
  [[noreturn]] void fail() const {
    throw Error("embedding index", "cannot write " + path_.string() + ": " + std::strerror(errno), "is the disk full?");
  }
  fs::path path_;
  int fd_ = -1;
  std::int64_t rows_ = 0;
};

}  // namespace

void EmbeddingIndex::build(const fs::path& file, const fs::path& keyword_index, const Embedder& embedder, Progress& progress) {
  const KeywordIndex texts(keyword_index);
  const std::int64_t n = texts.documents(), d = embedder.dimensions();
  const std::string head = header(embedder, n, sha256_file(keyword_index));
  Partial partial(file, head, static_cast<std::size_t>(d) * sizeof(float));
  progress.begin("embedding index", n, "documents");
  for (std::int64_t next = std::min(partial.rows(), n); next < n;) {
    if (progress.stop_requested()) throw Interrupted("embedding index");
    std::vector<std::string> batch;
    for (; next < n && static_cast<std::int64_t>(batch.size()) < kBatch; ++next) batch.push_back(texts.text(next));
    std::vector<float> rows = embedder.embed(batch);
    assert(static_cast<std::int64_t>(rows.size()) == static_cast<std::int64_t>(batch.size()) * d);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const std::span<float> row(rows.data() + i * static_cast<std::size_t>(d), static_cast<std::size_t>(d));
      const double length = std::sqrt(dot(row, row));
      if (!std::isfinite(length)) throw Error("embedding index", "the embedder gave a number that is none for a document");
      if (length > 0)
        for (float& x : row) x = static_cast<float>(static_cast<double>(x) / length);
    }
    partial.append(rows.data(), rows.size() * sizeof(float));
    progress.update(next);
  }
  std::vector<double> sum(static_cast<std::size_t>(d), 0.0);
  if (embedder.centred()) {
    const std::vector<float> rows = partial.all_rows(head.size(), static_cast<std::size_t>(n * d));
    for (std::size_t i = 0; i < rows.size(); ++i) sum[i % static_cast<std::size_t>(d)] += static_cast<double>(rows[i]);
  }
  std::vector<float> mean;
  for (const double s : sum) mean.push_back(n > 0 ? static_cast<float>(s / static_cast<double>(n)) : 0.0F);
  partial.append(mean.data(), mean.size() * sizeof(float));
  partial.finish(file);
  progress.end(std::to_string(n) + " documents");
}

EmbeddingIndex::EmbeddingIndex(const fs::path& file)
    : data_([&] {
        if (!fs::exists(file))
          throw Error("embedding index", "there is no index at " + file.string(),
                      "build it with: assay search index DIR --corpus FILE --encoder MODEL");
        return MappedFile(file);
      }()) {
  const auto bytes = data_.bytes();
  const auto refuse = [&](const std::string& what) { throw Error("embedding index", file.string() + " " + what, "build the index again"); };
  if (bytes.size() < kHeaderBytes) refuse("is no embedding index: it is too short");
  const Json about = parse_json(std::string_view(reinterpret_cast<const char*>(bytes.data()), kHeaderBytes), file.string());
  if (value_or<std::string>(about, "format", "", file.string()) != kEmbeddingFormat)
    refuse(std::string("has another format than ") + kEmbeddingFormat);
  documents_ = require<std::int64_t>(about, "documents", file.string());
  dimensions_ = require<std::int64_t>(about, "dimensions", file.string());
  embedder_ = require<std::string>(about, "embedder", file.string());
  if (dimensions_ < 1 || dimensions_ > kMostDimensions || documents_ < 0) refuse("names impossible sizes");
  const auto d = static_cast<std::size_t>(dimensions_), row_bytes = d * sizeof(float);
  // Compared by division: the product of hostile sizes could wrap.
  const std::size_t rest = bytes.size() - kHeaderBytes;
  if (rest % row_bytes != 0 || rest / row_bytes != static_cast<std::size_t>(documents_) + 1)
    refuse("does not hold as many rows as it says");
  begin_ = kHeaderBytes;
  mean_.resize(d);
  std::memcpy(mean_.data(), bytes.data() + bytes.size() - row_bytes, row_bytes);
  const double mean_squared = dot(mean_, mean_);
  for (std::int64_t i = 0; i < documents_; ++i) {
    const double squared = dot(row(i), row(i)) - 2 * dot(row(i), mean_) + mean_squared;
    lengths_.push_back(static_cast<float>(std::sqrt(std::max(0.0, squared))));
  }
}

std::span<const float> EmbeddingIndex::row(std::int64_t id) const {
  const auto d = static_cast<std::size_t>(dimensions_);
  return {reinterpret_cast<const float*>(data_.bytes().data() + begin_) + static_cast<std::size_t>(id) * d, d};
}

std::vector<EmbeddingIndex::Hit> EmbeddingIndex::search(std::span<const float> query, std::int64_t limit) const {
  if (static_cast<std::int64_t>(query.size()) != dimensions_) {
    throw Error("embedding index", "the query has " + std::to_string(query.size()) + " values, the index " + std::to_string(dimensions_));
  }
  const double length = std::sqrt(dot(query, query));
  std::vector<float> point(query.size());
  for (std::size_t i = 0; i < query.size(); ++i)
    point[i] = static_cast<float>(length > 0 ? static_cast<double>(query[i]) / length : 0.0) - mean_[i];
  const double point_length = std::sqrt(dot(point, point)), shift = dot(point, mean_);
  std::vector<Hit> hits;
  for (std::int64_t i = 0; i < documents_; ++i) {
    // cos of (query - mean, row - mean)
    const double both = point_length * static_cast<double>(lengths_[static_cast<std::size_t>(i)]);
    hits.push_back({i, both > 1e-12 ? (dot(point, row(i)) - shift) / both : 0.0});
  }
  const auto n = std::min(hits.size(), static_cast<std::size_t>(std::max<std::int64_t>(0, limit)));
  std::partial_sort(hits.begin(), hits.begin() + static_cast<std::ptrdiff_t>(n), hits.end(),
                    [](const Hit& a, const Hit& b) { return a.score != b.score ? a.score > b.score : a.id < b.id; });
  hits.resize(n);
  return hits;
}

std::vector<EmbeddingIndex::Hit> EmbeddingIndex::search(const Embedder& embedder, const std::string& query, std::int64_t limit) const {
  if (embedder.identity() != embedder_)
    throw Error("embedding index", "it was built with another encoder than the one that reads the query",
                "build the index again, or name its encoder");
  if (query.find_first_not_of(" \t\n") == std::string::npos) return {};
  return search(embedder.embed(std::span(&query, 1)), limit);
}

}  // namespace assay
