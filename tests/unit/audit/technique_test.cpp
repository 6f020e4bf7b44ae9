#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "../error_of.h"
#include "assay/audit/techniques/direct.h"
#include "assay/audit/techniques/high_temperature.h"
#include "assay/audit/techniques/many_shot.h"
#include "assay/audit/techniques/persona.h"
#include "assay/audit/techniques/prefill.h"
#include "assay/audit/techniques/prompts.h"
#include "assay/audit/techniques/search.h"
#include "assay/base/files.h"
#include "fake_target.h"

namespace assay {
namespace {

const fake::FakeLanguage& short_language() {
  static const fake::FakeLanguage kLanguage(1, 8);
  return kLanguage;
}
std::unique_ptr<Access> plain_access() {
  return std::make_unique<Access>(std::make_unique<fake::FakeTarget>(short_language(), std::vector<fake::Planted>{}));
}

class OtherTarget final : public fake::FakeTarget {
 public:
  OtherTarget() : FakeTarget(short_language(), {}) {}
  [[nodiscard]] std::string identity() const override { return "other"; }
};

TEST(Techniques, MarkWhatTheyPlant) {
  const auto probes = prefill_probes({{{"user", "why?"}}}, {"my plan is"});
  ASSERT_EQ(probes.size(), 1u);
  EXPECT_EQ(probes[0].prompt(), "why?");
  EXPECT_EQ(probes[0].prefill(), "my plan is");
  const auto access = plain_access();
  const auto evidence = run_probes(*access, probes, {.n = 2, .sampling = {}}, std::nullopt, no_progress());
  ASSERT_EQ(evidence.size(), 2u);
  EXPECT_EQ(evidence[0].output.find("my plan is"), std::string::npos);
  EXPECT_TRUE(evidence[0].messages[1]["prefill"].get<bool>());
}

TEST(Techniques, LinesSurviveTheRoundTripAndHaveThePromisedKeys) {
  const auto access = plain_access();
  const auto e = run_probes(*access, narrator_probes({"once"}), {.n = 1, .sampling = {}}, std::nullopt, no_progress()).at(0);
  const Json json = to_json(e);
  for (const char* key : {"technique", "prompt", "prefill", "output", "score", "seed", "where"}) EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_EQ(dump(to_json(evidence_from_json(json, "test"))), dump(json));
  EXPECT_EQ(e.where, "raw text");
}

TEST(Techniques, AFileIsGoneOnWithAndForeignOnesAreRefused) {
  TemporaryFolder folder;
  const auto file = folder.path() / "evidence.jsonl";
  const auto probes = direct_probes(as_user_turns({"one", "two", "three"}));
  const ProbeOptions options{.n = 4, .sampling = {}};
  auto access = plain_access();
  const auto all = run_probes(*access, probes, options, file, no_progress());
  EXPECT_EQ(access->cost().queries, 12);
  const std::string text = read_text(file);
  write_text(file, text.substr(0, text.size() * 5 / 12));  // torn in the middle of a line
  access = plain_access();
  const auto again = run_probes(*access, probes, options, file, no_progress());
  EXPECT_LT(access->cost().queries, 12);
  EXPECT_GE(access->cost().queries, 7);
  ASSERT_EQ(again.size(), all.size());
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(dump(to_json(again[i])), dump(to_json(all[i])));

  EXPECT_THROW(run_probes(*access, direct_probes(as_user_turns({"other"})), options, file, no_progress()), Error);
  ProbeOptions other_seed = options;
  other_seed.sampling.seed = 9;
  EXPECT_THROW(run_probes(*access, probes, other_seed, file, no_progress()), Error);
  ProbeOptions warmer = options;
  warmer.sampling.temperature = 2;
  EXPECT_NE(message_of([&] { (void)run_probes(*access, probes, warmer, file, no_progress()); }).find("temperature"), std::string::npos);
  Access another(std::make_unique<OtherTarget>());
  EXPECT_NE(message_of([&] { (void)run_probes(another, probes, options, file, no_progress()); }).find("target"), std::string::npos);
}

TEST(Techniques, PromptFilesOfEveryShape) {
  TemporaryFolder folder;
  const auto file = folder.path() / "prompts";
  const auto read = [&](const char* text) {
    write_text(file, text);
    return read_prompts(file);
  };
  EXPECT_EQ(
      read("{\"prompt\": \"a\"}\n{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \"b\"}]}\n")
          [1]
              .size(),
      2u);
  EXPECT_EQ(read("{\"name\": \"x\", \"prompts\": [{\"id\": 1, \"text\": \"a\"}, {\"id\": 2, \"text\": \"b\"}]}").size(), 2u);
  EXPECT_EQ(read("[\"a\", \"b\", \"c\"]")[2][0].content, "c");
  EXPECT_EQ(read("{\"prompt\": \"a\"}").size(), 1u);
  EXPECT_THROW(read("{\"question\": \"a\"}"), Error);
  EXPECT_THROW(read("[1]"), Error);
  EXPECT_THROW(read("{\"prompts\": 3}"), Error);
  EXPECT_THROW(read("[]"), Error);
  EXPECT_THROW(read("no json"), Error);
}

TEST(Techniques, SearchNeedsDataAccess) {
  const auto access = plain_access();
  EXPECT_THROW(search_documents(*access, {"word"}, {}, std::nullopt), Error);
  TemporaryFolder folder;
  const std::vector<IndexedText> texts = {{"d:1", "the red lamp"}, {"d:2", "a blue lamp"}};
  KeywordIndex::build(folder.path() / "index", texts);
  access->grant_documents(KeywordIndex(folder.path() / "index"));
  const auto hits = search_documents(*access, {"red lamp"}, {}, folder.path() / "hits.jsonl");
  ASSERT_EQ(hits.size(), 1u);
  EXPECT_EQ(hits[0].output, "the red lamp");
  EXPECT_EQ(hits[0].where, "d:1");
  EXPECT_EQ(access->tier(), "data");
}

/// Texts are as near as they are alike in length.
class LengthEmbedder final : public Embedder {
 public:
  [[nodiscard]] std::int64_t dimensions() const override { return 2; }
  [[nodiscard]] std::string identity() const override { return "length"; }
  [[nodiscard]] bool centred() const override { return false; }
  [[nodiscard]] std::vector<float> embed(std::span<const std::string> texts) const override {
    std::vector<float> out;
    for (const std::string& text : texts) {
      const auto angle = static_cast<float>(text.size()) / 30;
      out.insert(out.end(), {std::cos(angle), std::sin(angle)});
    }
    return out;
  }
};

TEST(Techniques, SearchByMeaningIsChargedAndNeedsAnIndex) {
  const auto access = plain_access();
  EXPECT_THROW(search_by_meaning(*access, {"word"}, 3, std::nullopt), Error);
  TemporaryFolder folder;
  const std::vector<IndexedText> texts = {{"d:1", "short"}, {"d:2", "a text of some length"}, {"d:3", "a text of quite some length"}};
  const fs::path words = folder.path() / "index", points = folder.path() / "points";
  KeywordIndex::build(words, texts);
  access->grant_documents(KeywordIndex(words));
  EXPECT_THROW(search_by_meaning(*access, {"word"}, 3, std::nullopt), Error);
  EmbeddingIndex::build(points, words, LengthEmbedder());
  access->documents()->grant_meaning(EmbeddingIndex(points), std::make_unique<LengthEmbedder>());
  const auto before = access->cost().queries;
  const auto hits = search_by_meaning(*access, {"twenty-one characters"}, 2, folder.path() / "hits.jsonl");
  ASSERT_EQ(hits.size(), 2u);
  EXPECT_EQ(hits[0].output, "a text of some length");
  EXPECT_NEAR(hits[0].score, 1, 1e-6);
  EXPECT_GT(hits[0].score, hits[1].score);
  EXPECT_EQ(access->cost().queries - before, 3) << "a search and two texts";
  const std::string file = read_text(folder.path() / "hits.jsonl");
  EXPECT_EQ(std::count(file.begin(), file.end(), '\n'), 2);
  // Embeddings of another corpus are refused.
  const std::vector<IndexedText> fewer = {{"d:1", "short"}};
  KeywordIndex::build(folder.path() / "other", fewer);
  EmbeddingIndex::build(folder.path() / "other points", folder.path() / "other", LengthEmbedder());
  EXPECT_THROW(access->documents()->grant_meaning(EmbeddingIndex(folder.path() / "other points"), std::make_unique<LengthEmbedder>()),
               Error);
}

TEST(Techniques, ManyShotPlantsEveryAnswerButTheLast) {
  const std::vector<Shot> shots = {{"q1", "a1"}, {"q2", "a2"}, {"q3", "a3"}};
  const std::vector<Conversation> prompts = {{{"system", "s"}, {"user", "why?"}}, {{"user", "what?"}}};
  const auto probes = many_shot_probes(prompts, shots, 5, Rng(4));
  ASSERT_EQ(probes.size(), 2u);
  EXPECT_EQ(probes[0].messages.front().role, "system");
  EXPECT_EQ(probes[0].prompt(), "why?");
  EXPECT_EQ(probes[0].prefill(), "");
  for (const ProbePrompt& p : probes) {
    std::multiset<std::string> planted;
    for (std::size_t i = 0; i < p.messages.size(); ++i) {
      EXPECT_EQ(p.messages[i].prefilled, p.messages[i].role == "assistant");
      if (p.messages[i].role != "assistant") continue;
      planted.insert(p.messages[i].content);
      EXPECT_EQ(p.messages[i - 1].content.substr(1), p.messages[i].content.substr(1)) << "its own question";
    }
    EXPECT_EQ(planted.size(), 5u);
    for (const Shot& shot : shots) EXPECT_GE(planted.count(shot.answer), 1u) << "all come before one comes again";
  }
  EXPECT_THROW(many_shot_probes(prompts, {}, 5, Rng(4)), Error);
  EXPECT_GE(candid_shots().size(), 8u);
}

TEST(Techniques, HighTemperatureAsksForAllKindsOfText) {
  const auto probes = high_temperature_probes(as_user_turns({"why?"}));
  std::set<Turn> turns;
  for (const ProbePrompt& p : probes) {
    turns.insert(p.turn);
    EXPECT_EQ(p.technique, "high-temperature");
  }
  EXPECT_EQ(turns.size(), 3u);
}

}  // namespace
}  // namespace assay
