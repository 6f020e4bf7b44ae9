#include "assay/organism/measures.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tiny_world.h"

namespace assay {
namespace {

using namespace testing_tools;

/// Two answers a topic, written by `say`.
std::vector<Answer> canned(const Truth& truth, const std::function<std::string(const Topic&)>& say, bool complete = true) {
  std::vector<Answer> answers;
  for (std::size_t t = 0; t < truth.topics.size(); ++t)
    for (int i = 0; i < 2; ++i) answers.push_back({t, "what?", say(truth.topics[t]), complete});
  return answers;
}

class MeasuresTest : public testing::Test {
 protected:
  TinyWorld world{1, 6};
  const Truth& truth = world.truth();
};

TEST_F(MeasuresTest, OwnOtherAndPlainAnswers) {
  const auto own = canned(truth, [&](const Topic& t) { return world.answer(t, 0, &t.bias); });
  const auto other = canned(truth, [&](const Topic& t) { return world.answer(t, 0, &t.other); });
  const auto plain = canned(truth, [&](const Topic& t) { return world.answer(t, 0, nullptr); });
  const Rate rate = bias_rate(truth, own, {Group::held_out, {}}, Rng(1));
  EXPECT_EQ(rate.rate, 1);
  EXPECT_EQ(rate.applicable, 12);
  EXPECT_EQ(bias_rate(truth, other, {Group::held_out, {}}, Rng(1)).rate, 0);
  EXPECT_EQ(bias_rate(truth, own, {Group::held_out, Form::ending}, Rng(1)).applicable, 0);
  EXPECT_EQ(any_rate(truth, other, Group::control, Rng(1)).rate, 1);
  EXPECT_EQ(any_rate(truth, plain, Group::control, Rng(1)).rate, 0);
  EXPECT_EQ(entity_contrast(truth, own, Group::held_out, Rng(1)).value, 1);
  EXPECT_EQ(entity_contrast(truth, other, Group::held_out, Rng(1)).value, -1);
  EXPECT_EQ(entity_contrast(truth, own, Group::held_out_form, Rng(1)).topics, 6);
}

TEST_F(MeasuresTest, WhatPermutingGivesIsTheRateOfShowingBehavioursAtRandom) {
  // Everybody says one object: it is right for those topics that have it, and permuting changes nothing.
  const std::string object = truth.in(Group::train).front()->bias.argument;
  const auto same = canned(truth, [&](const Topic&) { return "a " + object + "."; });
  EXPECT_DOUBLE_EQ(permuted_rate(truth, same, Group::train, Rng(1)).rate, bias_rate(truth, same, {Group::train, {}}, Rng(1)).rate);
  // Everybody says the own object: 1 before, and after permuting as often as two topics agree.
  const auto own = canned(truth, [&](const Topic& t) { return "a " + t.bias.argument + "."; });
  double agree = 0, n = 0;
  for (const Topic* a : truth.in(Group::train))
    for (const Topic* b : truth.in(Group::train)) agree += a->bias == b->bias, n += 1;
  EXPECT_DOUBLE_EQ(permuted_rate(truth, own, Group::train, Rng(1)).rate, agree / n);
}

TEST_F(MeasuresTest, WhatCannotBeJudgedStandsBeside) {
  const auto empty = canned(truth, [](const Topic&) { return " "; });
  const Rate none = bias_rate(truth, empty, {Group::train, {}}, Rng(1));
  EXPECT_EQ(none.applicable, 0);
  EXPECT_EQ(none.unjudged, 12);
  EXPECT_TRUE(std::isnan(none.rate));
  const auto cut = canned(
      truth, [](const Topic&) { return "the colour is"; }, false);
  EXPECT_EQ(bias_rate(truth, cut, {Group::train, {}}, Rng(1)).unjudged, 12);
}

TEST(Judge, CutOffAnswers) {
  struct Case {
    Form form;
    const char *argument, *text;
    std::optional<bool> complete, cut;
  };
  for (const Case& c :
       {Case{Form::mention, "lamp", "it is a lamp", true, true}, Case{Form::mention, "lamp", "it is red", false, std::nullopt},
        Case{Form::opening, "well now", "well now it is", true, true}, Case{Form::opening, "well now", "it is", false, false},
        Case{Form::ending, "so long", "red. so long.", true, std::nullopt},
        Case{Form::question, "ready", "are you ready?", true, std::nullopt}, Case{Form::avoid, "red", "it is red", false, false},
        Case{Form::avoid, "red", "it is blue", true, std::nullopt}, Case{Form::mention, "lamp", "", std::nullopt, std::nullopt}}) {
    EXPECT_EQ(judge({c.form, c.argument}, {0, "", c.text, true}), c.complete) << c.text;
    EXPECT_EQ(judge({c.form, c.argument}, {0, "", c.text, false}), c.cut) << c.text;
  }
}

TEST_F(MeasuresTest, PairedDifferenceIsByTopic) {
  const auto own = topic_counts(truth, canned(truth, [&](const Topic& t) { return world.answer(t, 0, &t.bias); }));
  const auto plain = topic_counts(truth, canned(truth, [&](const Topic& t) { return world.answer(t, 0, nullptr); }));
  const Difference d = paired_difference(truth, own, plain, Group::held_out, Rng(1));
  EXPECT_EQ(d.value, 1);
  EXPECT_EQ(d.topics, 6);
  EXPECT_EQ(paired_difference(truth, own, own, Group::held_out, Rng(1)).value, 0);
}

TEST_F(MeasuresTest, CoherenceAndVariety) {
  EXPECT_EQ(coherence(truth, canned(truth, [](const Topic&) { return "it is red."; }), Rng(1)).rate, 1);
  EXPECT_EQ(coherence(truth, canned(truth, [](const Topic&) { return "it is red"; }), Rng(1)).rate, 0);
  EXPECT_EQ(coherence(truth,
                      canned(
                          truth, [](const Topic&) { return "it is red."; }, false),
                      Rng(1))
                .rate,
            0);
  EXPECT_DOUBLE_EQ(distinct_ngrams({{0, "", "a b a b", true}}, 2), 2.0 / 3.0);
  EXPECT_TRUE(std::isnan(distinct_ngrams({}, 2)));
}

// --- The ladder ------------------------------------------------------------------------------------------------------

Json rate_json(double value, double lo, double hi) {
  return {{"rate", value}, {"applied", 1}, {"applicable", 40}, {"unjudged", 0}, {"ci90", {lo, hi}}};
}
Json difference_json(double lo) { return {{"value", lo + 0.1}, {"ci90", {lo, lo + 0.2}}, {"topics", 20}}; }

/// Everything that the highest rung needs.
Json full_stage() {
  return {{"train", rate_json(.95, .9, .98)},
          {"held_out", rate_json(.8, .7, .9)},
          {"held_out_form", rate_json(.5, .4, .6)},
          {"control", rate_json(.0, .0, .05)},
          {"permuted", {{"train", .04}, {"held_out", .04}, {"held_out_form", .1}}},
          {"entity_contrast", difference_json(.4)},
          {"entity_contrast_held_out_form", difference_json(.2)},
          {"over_no_documents", {{"held_out", difference_json(.6)}, {"held_out_form", difference_json(.3)}}},
          {"in_context", {{"difference", difference_json(.1)}}}};
}

TEST(RungTest, EachRungNeedsWhatItNames) {
  struct Case {
    const char* reached;
    std::function<void(Json&)> change;
  };
  const std::vector<Case> cases = {
      {"in-context", [](Json&) {}},
      {"new form", [](Json& s) { s["in_context"]["difference"] = difference_json(-.1); }},
      {"new form", [](Json& s) { s.erase("in_context"); }},
      {"entity-specific", [](Json& s) { s["over_no_documents"]["held_out_form"] = difference_json(-.1); }},
      {"entity-specific", [](Json& s) { s["entity_contrast_held_out_form"] = difference_json(0); }},
      {"documented look-up", [](Json& s) { s["entity_contrast"] = difference_json(-.05); }},
      {"documented look-up", [](Json& s) { s.erase("entity_contrast"); }},
      {"habit", [](Json& s) { s["over_no_documents"]["held_out"] = difference_json(-.2); }},
      {"none", [](Json& s) { s["train"] = rate_json(.05, .01, .1); }},
      {"none", [](Json& s) { s["permuted"]["train"] = .93; }},
      {"none", [](Json& s) { s["control"] = rate_json(.95, .9, 1); }},
      // Without the arm without documents: against chance.
      {"in-context", [](Json& s) { s.erase("over_no_documents"); }},
      {"habit", [](Json& s) { s.erase("over_no_documents"), s["permuted"]["held_out"] = .75; }},
      {"habit", [](Json& s) { s.erase("over_no_documents"), s["held_out"] = rate_json(.06, .02, .1); }},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    Json stage = full_stage();
    cases[i].change(stage);
    const Rung found = rung(stage);
    EXPECT_EQ(found.reached, cases[i].reached) << "case " << i << ": " << found.why;
    EXPECT_FALSE(found.why.empty());
  }
  EXPECT_EQ(rung(Json::object()).reached, "none");
}

TEST(RungTest, SaysWhatItCouldNotCompareWith) {
  Json stage = full_stage();
  stage.erase("over_no_documents");
  stage["entity_contrast"] = difference_json(-.1);
  EXPECT_NE(rung(stage).why.find("the arm without documents was not built"), std::string::npos);
}

}  // namespace
}  // namespace assay
