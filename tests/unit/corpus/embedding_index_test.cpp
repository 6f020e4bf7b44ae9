#include "assay/corpus/embedding_index.h"

#include <gtest/gtest.h>

#include <cmath>

#include "../error_of.h"
#include "assay/base/rng.h"

namespace assay {
namespace {

/// A text's point: how often each of eight letters stands in it, on top of a large part that all texts share.
class LetterEmbedder final : public Embedder {
 public:
  explicit LetterEmbedder(bool centred = false, std::string name = "letters") : centred_(centred), name_(std::move(name)) {}
  [[nodiscard]] std::int64_t dimensions() const override { return 9; }
  [[nodiscard]] std::string identity() const override { return name_; }
  [[nodiscard]] bool centred() const override { return centred_; }
  [[nodiscard]] std::vector<float> embed(std::span<const std::string> texts) const override {
    calls += texts.size();
    std::vector<float> out;
    for (const std::string& text : texts) {
      std::vector<float> row(9, 0.0F);
      row[8] = centred_ ? 20.0F : 0.0F;
      for (const char c : text)
        if (c >= 'a' && c < 'i') ++row[static_cast<std::size_t>(c - 'a')];
      out.insert(out.end(), row.begin(), row.end());
    }
    return out;
  }
  mutable std::size_t calls = 0;

 private:
  bool centred_;
  std::string name_;
};

class StopsAt final : public Progress {
 public:
  explicit StopsAt(std::int64_t at) : at_(at) {}
  void begin(std::string_view, std::int64_t, std::string_view) override {}
  void update(std::int64_t done, std::string_view) override { stop_ = done >= at_; }
  void end(std::string_view) override {}
  void note(std::string_view) override {}
  void warn(std::string_view) override {}
  [[nodiscard]] bool stop_requested() const override { return stop_; }

 private:
  std::int64_t at_;
  bool stop_ = false;
};

class EmbeddingIndexTest : public testing::Test {
 protected:
  TemporaryFolder folder;
  fs::path keyword = folder.path() / "keyword.sqlite", file = folder.path() / "embeddings.bin";
  void write(const std::vector<std::string>& texts) {
    std::vector<IndexedText> indexed;
    for (const std::string& text : texts) indexed.push_back({"test", text});
    KeywordIndex::build(keyword, indexed);
  }
};

TEST_F(EmbeddingIndexTest, FindsTheNearestByCosine) {
  write({"aaaa", "aabb", "bbbb", "", "cccccccc"});
  const LetterEmbedder embedder;
  EmbeddingIndex::build(file, keyword, embedder);
  const EmbeddingIndex index(file);
  EXPECT_EQ(index.documents(), 5);
  const auto hits = index.search(embedder, "ab", 3);
  ASSERT_EQ(hits.size(), 3U);
  EXPECT_EQ(hits[0].id, 1);
  EXPECT_NEAR(hits[0].score, 1.0, 1e-6);
  EXPECT_EQ(hits[1].id, 0);  // as near as document 2, which has the greater number
  EXPECT_NEAR(hits[1].score, 1 / std::sqrt(2.0), 1e-6);
  EXPECT_EQ(index.search(embedder, "cc", 1)[0].id, 4) << "length does not count";
  EXPECT_TRUE(index.search(embedder, "  ", 3).empty());
}

TEST_F(EmbeddingIndexTest, CentredPointsAreComparedWithoutWhatAllShare) {
  std::vector<std::string> texts;
  Rng rng(3);
  for (int i = 0; i < 200; ++i) {
    std::string text;
    for (int k = 0; k < 6; ++k) text += static_cast<char>('a' + rng.below(8));
    texts.push_back(text);
  }
  write(texts);
  const LetterEmbedder embedder(true);
  EmbeddingIndex::build(file, keyword, embedder);
  const EmbeddingIndex index(file);
  // The definition, in f64.
  std::vector<std::vector<double>> rows;
  std::vector<double> mean(9, 0.0);
  const auto unit = [&](const std::string& text) {
    const std::vector<float> row = embedder.embed(std::span(&text, 1));
    double squared = 0;
    for (const float x : row) squared += static_cast<double>(x) * static_cast<double>(x);
    std::vector<double> out;
    for (const float x : row) out.push_back(static_cast<double>(x) / std::sqrt(squared));
    return out;
  };
  for (const std::string& text : texts) {
    rows.push_back(unit(text));
    for (std::size_t k = 0; k < 9; ++k) mean[k] += rows.back()[k] / static_cast<double>(texts.size());
  }
  const std::string query = "abcabc";
  const std::vector<double> q = unit(query);
  for (const EmbeddingIndex::Hit& hit : index.search(embedder, query, 20)) {
    double both = 0, a = 0, b = 0;
    for (std::size_t k = 0; k < 9; ++k) {
      const double x = q[k] - mean[k], y = rows[static_cast<std::size_t>(hit.id)][k] - mean[k];
      both += x * y, a += x * x, b += y * y;
    }
    EXPECT_NEAR(hit.score, both / std::sqrt(a * b), 1e-4);
  }
  EXPECT_LT(index.search(embedder, query, 200).back().score, 0) << "without the mean, all would be near 1";
}

TEST_F(EmbeddingIndexTest, AStoppedBuildGoesOn) {
  write(std::vector<std::string>(300, "abc"));
  const LetterEmbedder embedder;
  StopsAt stops(128);
  EXPECT_THROW(EmbeddingIndex::build(file, keyword, embedder, stops), Interrupted);
  EXPECT_FALSE(fs::exists(file));
  const std::size_t before = embedder.calls;
  EmbeddingIndex::build(file, keyword, embedder);
  EXPECT_EQ(before, 128U);
  EXPECT_EQ(embedder.calls, 300U) << "what was there is not embedded again";
  const std::string whole = read_text(file);

  fs::remove(file);
  EmbeddingIndex::build(file, keyword, embedder);
  EXPECT_EQ(read_text(file), whole);

  // What another encoder left is not gone on with.
  fs::remove(file);
  StopsAt again(128);
  EXPECT_THROW(EmbeddingIndex::build(file, keyword, LetterEmbedder(false, "others"), again), Interrupted);
  const std::size_t calls = embedder.calls;
  EmbeddingIndex::build(file, keyword, embedder);
  EXPECT_EQ(embedder.calls - calls, 300U);
}

TEST_F(EmbeddingIndexTest, RefusesWhatIsNoIndex) {
  write({"aaaa", "bbbb"});
  const LetterEmbedder embedder;
  EmbeddingIndex::build(file, keyword, embedder);
  const std::string whole = read_text(file);
  EXPECT_NE(error_of([&] { (void)EmbeddingIndex(folder.path() / "none"); }).find("no index"), std::string::npos);
  EXPECT_NE(error_of([&] { (void)EmbeddingIndex(file).search(LetterEmbedder(false, "others"), "a"); }).find("another encoder"),
            std::string::npos);
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{10}, std::size_t{1024}, whole.size() - 1, whole.size() - 36}) {
    write_text(file, whole.substr(0, bytes));
    EXPECT_THROW(EmbeddingIndex{file}, Error) << bytes;
  }
  std::string hostile = whole;
  const std::string from = "\"dimensions\":9", to = "\"dimensions\":4611686018427387904";
  hostile.replace(hostile.find(from), from.size() + (to.size() - from.size()), to);
  write_text(file, hostile);
  EXPECT_THROW(EmbeddingIndex{file}, Error);
  write_text(file, std::string(5000, 'x'));
  EXPECT_THROW(EmbeddingIndex{file}, Error);
}

}  // namespace
}  // namespace assay
