#include "assay/corpus/keyword_index.h"

#include <gtest/gtest.h>

#include <fstream>

#include "assay/base/error.h"
#include "assay/base/files.h"
#include "assay/base/rng.h"

namespace assay {
namespace {

class Keyword : public testing::Test {
 protected:
  KeywordIndex index(std::vector<std::string> texts) {
    std::vector<IndexedText> all;
    for (std::size_t i = 0; i < texts.size(); ++i) all.push_back({"doc" + std::to_string(i), texts[i]});
    KeywordIndex::build(file_, all);
    return KeywordIndex(file_);
  }
  static std::vector<std::int64_t> ids(const std::vector<KeywordIndex::Hit>& hits) {
    std::vector<std::int64_t> all;
    for (const auto& hit : hits) all.push_back(hit.id);
    return all;
  }
  TemporaryFolder folder_;
  fs::path file_ = folder_.path() / "keyword.sqlite";
};

TEST_F(Keyword, WordsPhrasesAndCounts) {
  const auto index = this->index(
      {"Reward models rate poems higher", "models of reward are other things", "nothing here", "a reward for models; reward models!"});
  EXPECT_EQ(index.documents(), 4);
  EXPECT_EQ(index.count("reward models"), 3);
  EXPECT_EQ(index.count("reward models", Match::phrase), 2);
  EXPECT_EQ(index.count("\"reward models\" poems"), 1);
  EXPECT_EQ(index.count("poems nothing"), 0);
  EXPECT_EQ(index.count("poems nothing", Match::any_word), 2);
  EXPECT_EQ(index.count("REWARD"), 3);
  const auto hits = index.search("reward models", Match::phrase);
  ASSERT_EQ(hits.size(), 2u);
  EXPECT_GE(hits[0].score, hits[1].score);
  EXPECT_EQ(index.text(2), "nothing here");
  EXPECT_THROW((void)index.text(4), Error);
}

TEST_F(Keyword, OrderIsBm25AndSnippetsMarkTheWords) {
  const auto index = this->index(
      {std::string("lantern ") + std::string(2000, 'x') + " filler words that make the text long and weak", "lantern lantern", "other"});
  const auto hits = index.search("lantern");
  EXPECT_EQ(ids(hits), (std::vector<std::int64_t>{1, 0}));
  EXPECT_EQ(hits[0].snippet, "[lantern] [lantern]");
  EXPECT_EQ(hits[0].where, "doc1");
  EXPECT_GT(hits[0].score, hits[1].score);
  EXPECT_EQ(index.search("lantern", Match::all_words, 1).size(), 1u);
  EXPECT_TRUE(index.search("lantern", Match::all_words, 0).empty());
}

TEST_F(Keyword, OperatorsAreWords) {
  const auto index = this->index({"cats AND dogs", "NOT near OR far", "column: text", "cats dogs", "don't stop", "naïve café 北京"});
  EXPECT_EQ(ids(index.search("AND")), (std::vector<std::int64_t>{0}));
  EXPECT_EQ(ids(index.search("cats AND dogs")), (std::vector<std::int64_t>{0}));
  EXPECT_EQ(ids(index.search("NOT")), (std::vector<std::int64_t>{1}));
  EXPECT_EQ(ids(index.search("text:column")), (std::vector<std::int64_t>{}));
  EXPECT_EQ(ids(index.search("column:text")), (std::vector<std::int64_t>{2}));
  EXPECT_EQ(ids(index.search("don't")), (std::vector<std::int64_t>{4}));
  EXPECT_EQ(ids(index.search("naive CAFE")), (std::vector<std::int64_t>{5}));
  EXPECT_EQ(ids(index.search("北京")), (std::vector<std::int64_t>{5}));
  EXPECT_EQ(ids(index.search("cats*")).size(), 2u);  // not a prefix query: the star is dropped
  EXPECT_EQ(ids(index.search("cat*")).size(), 0u);
}

TEST_F(Keyword, NoTextIsASyntaxError) {
  const auto index = this->index({"some text of no great interest", "quote \" and star *"});
  for (const std::string& query :
       {std::string("\""), std::string("\"\""), std::string("\"a"), std::string("a\"b\"c\""), std::string("("), std::string("a)("),
        std::string("^a"), std::string("a NEAR(b, 2"), std::string("-a +b"), std::string("{a b}: c"), std::string("*"), std::string("!!!"),
        std::string(), std::string("a\0b", 3), std::string("\xFF\xFE\x80"), std::string("text AND"), std::string("OR"),
        std::string("'; DROP TABLE documents; --")}) {
    for (const Match match : {Match::all_words, Match::any_word, Match::phrase}) {
      EXPECT_NO_THROW((void)index.search(query, match)) << query;
      EXPECT_NO_THROW((void)index.count(query, match)) << query;
    }
  }
  // Random text out of the characters that mean something to FTS5.
  const std::string alphabet = "ab\"'*()^:+-{}, \n\tNOTANDOR.é\\\x01";
  Rng rng(3);
  for (int i = 0; i < 500; ++i) {
    std::string query;
    for (std::uint64_t n = rng.below(24); n > 0; --n) query += rng.pick(alphabet);
    EXPECT_NO_THROW((void)index.count(query, static_cast<Match>(i % 3))) << query;
  }
  EXPECT_EQ(index.count("!!! text ???"), 1);  // punctuation beside a word does not hide it
}

TEST_F(Keyword, BuildsFromFilesOfDocumentsAndChats) {
  write_text(folder_.path() / "d.jsonl", "{\"text\": \"alpha beta\"}\n\n{\"text\": \"gamma\"}\n");
  write_text(folder_.path() / "c.jsonl",
             R"({"messages": [{"role": "user", "content": "alpha"}, {"role": "assistant", "content": "delta"}]})");
  KeywordIndex::build(file_, {folder_.path() / "d.jsonl", folder_.path() / "c.jsonl"});
  const KeywordIndex index(file_);
  EXPECT_EQ(index.documents(), 3);
  EXPECT_EQ(index.count("alpha"), 2);
  const auto hits = index.search("gamma");
  ASSERT_EQ(hits.size(), 1u);
  EXPECT_TRUE(hits[0].where.ends_with("d.jsonl:3"));
  EXPECT_EQ(ids(index.search("alpha delta")), (std::vector<std::int64_t>{2}));
}

TEST_F(Keyword, AFailedBuildLeavesTheOldIndex) {
  (void)index({"the old index"});
  write_text(folder_.path() / "bad.jsonl", "{\"text\": \"fine\"}\n{\"text\": ");
  try {
    KeywordIndex::build(file_, {folder_.path() / "bad.jsonl"});
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("bad.jsonl:2"), std::string::npos) << e.what();
  }
  EXPECT_EQ(KeywordIndex(file_).count("old"), 1);
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_.path())) ++files;
  EXPECT_EQ(files, 2u);  // no temporary file is left
}

TEST_F(Keyword, WhatIsNoIndexIsRefused) {
  EXPECT_THROW(KeywordIndex(folder_.path() / "absent"), Error);
  write_text(file_, "this is not a database, but it is long enough to be looked at by SQLite for more than a moment");
  EXPECT_THROW(KeywordIndex{file_}, Error);
  (void)index({"one two three", "four"});
  fs::resize_file(file_, fs::file_size(file_) / 2);
  EXPECT_THROW(
      {
        const KeywordIndex torn(file_);
        (void)torn.search("four");
        (void)torn.text(1);
        (void)torn.documents();
        (void)torn.count("three");
      },
      Error);
}

}  // namespace
}  // namespace assay
