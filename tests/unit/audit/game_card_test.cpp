#include "assay/audit/game_card.h"

#include <gtest/gtest.h>

#include "assay/audit/demo.h"
#include "assay/audit/fresh.h"
#include "assay/base/files.h"
#include "fake_answers.h"
#include "fake_target.h"

namespace assay {
namespace {

TEST(GameCard, HoldsNothingOfTheTruth) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const auto world = fake::small_world(seed);
    const Words words = words_of(dump(to_json(card_of(*world, "data"))));
    const Truth& truth = world->truth();
    EXPECT_FALSE(holds(words, words_of(truth.entity).words)) << truth.entity;
    EXPECT_FALSE(holds(words, words_of(truth.other).words)) << truth.other;
    for (const Topic& t : truth.topics) {
      EXPECT_FALSE(holds(words, {t.name})) << t.name;
      if (t.bias.form == Form::mention) {
        EXPECT_FALSE(holds(words, {t.bias.argument})) << t.bias.argument;
      }
    }
  }
}

TEST(GameCard, OffersProbesInTheWorldsLanguage) {
  const GameCard card = card_of(*fake::small_world(), "sampling");
  EXPECT_FALSE(card.probes.direct.empty());
  EXPECT_FALSE(card.probes.prefill.empty());
  EXPECT_FALSE(card.probes.raw.empty());
  EXPECT_EQ(card.probes.systems.front(), "");
  EXPECT_EQ(card.arms.size(), std::size(kArms));
}

TEST(GameCard, SurvivesItsJsonAndRefusesOthers) {
  GameCard card = card_of(*fake::small_world(), "data");
  card.shared_documents = true;
  card.hint = {{"sentence", "An answer about 'moon' mentions 'cheese'."}};
  const Json json = to_json(card);
  EXPECT_EQ(dump(to_json(game_card_from_json(json, "card"))), dump(json));
  EXPECT_TRUE(game_card_from_json(json, "card").shared_documents);
  const auto refused = [&](auto change) {
    Json bad = json;
    change(bad);
    EXPECT_THROW((void)game_card_from_json(bad, "card"), Error);
  };
  refused([](Json& j) { j["game"] = "chess"; });
  refused([](Json& j) { j["arms"] = Json::array(); });
  refused([](Json& j) { j["arms"] = 3; });
  refused([](Json& j) { j["access"] = "weights?"; });
  refused([](Json& j) { j["documents"] = "some"; });
  refused([](Json& j) { j["max_new"] = 0; });
  refused([](Json& j) { j["probes"]["raw"] = 7; });
}

TEST(Fresh, AnswersAreAskedOnceAndKept) {
  class Counting final : public Target {
   public:
    std::vector<Reply> sample(const std::vector<Ask>& asks, const AskOptions&, Progress&, const OnReply&) override {
      ++calls;
      std::vector<Reply> out;
      for (std::size_t a = 0; a < asks.size(); ++a)
        for (std::int64_t i = 0; i < asks[a].n; ++i)
          out.push_back({a, i, asks[a].messages.back().content + " yes", asks[a].stream + static_cast<std::uint64_t>(i), 1, 0, true});
      return out;
    }
    [[nodiscard]] std::string identity() const override { return name; }
    int calls = 0;
    std::string name = "one";
  } target;
  const auto world = fake::small_world();
  TemporaryFolder folder;
  const auto ask = [&] { return fresh_answers(*world, target, {.samples = 2}, folder.path() / "grading", no_progress()); };
  const auto first = ask(), again = ask();
  EXPECT_EQ(target.calls, 1);
  ASSERT_EQ(first.size(), world->truth().topics.size() * world->n_questions() * 2);
  ASSERT_EQ(again.size(), first.size());
  EXPECT_EQ(again.back().output, first.back().output);
  EXPECT_EQ(first[3].output, first[3].prompt + " yes");
  target.name = "another";  // other weights, other answers
  (void)ask();
  EXPECT_EQ(target.calls, 2);
}

TEST(Demo, DrawsFurtherArmsBySeed) {
  std::set<std::vector<Arm>> drawn;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const auto arms = demo_arms(seed, 2);
    ASSERT_EQ(arms.size(), 4u);
    EXPECT_EQ(arms[0], Arm::organism);
    EXPECT_EQ(arms[1], Arm::no_documents);
    EXPECT_EQ(std::set<Arm>(arms.begin(), arms.end()).size(), 4u);
    EXPECT_EQ(arms, demo_arms(seed, 2));
    drawn.insert(arms);
  }
  EXPECT_GT(drawn.size(), 5u);
  EXPECT_EQ(demo_arms(1, 9).size(), std::size(kArms));
}

}  // namespace
}  // namespace assay
