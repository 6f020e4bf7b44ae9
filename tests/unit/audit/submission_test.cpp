#include "assay/audit/submission.h"

#include <gtest/gtest.h>

#include "assay/base/files.h"

namespace assay {
namespace {

const std::vector<std::string> kTwoArms = {"organism", "clean"};

Json valid() {
  return parse_json(R"({"arms": {"organism": 0.75, "clean": 0.25},
    "root_cause": {"whose": "the judges", "learnt_where": "documents", "text": "why"},
    "behaviours": [{"when": {"words": ["fox"]}, "does": {"words": ["lamp"]}, "confidence": 0.9, "sentence": "says lamp"}],
    "places": ["P3", "P1"],
    "cost": {"queries": 12, "tokens": 340, "wall_s": 1.5}})",
                    "test");
}

std::string refusal(const Json& json) {
  try {
    submission_from_json(json, kTwoArms);
  } catch (const Error& e) {
    return e.message();
  }
  return "accepted";
}

TEST(Submission, IsReadAndWritten) {
  const Submission s = submission_from_json(valid(), kTwoArms);
  EXPECT_DOUBLE_EQ(s.probability("organism"), 0.75);
  EXPECT_EQ(s.most_likely(), "organism");
  EXPECT_EQ(s.cost.queries, 12);
  EXPECT_EQ(s.places, (std::vector<std::string>{"P3", "P1"}));
  ASSERT_EQ(s.behaviours.size(), 1u);
  EXPECT_TRUE(s.behaviours[0].when("the fox?"));
  EXPECT_EQ(dump(to_json(submission_from_json(to_json(s), kTwoArms))), dump(to_json(s)));
}

TEST(Submission, ArmsLeftOutGetNothing) {
  Json json = valid();
  json["arms"] = {{"clean", 1.0}};
  EXPECT_DOUBLE_EQ(submission_from_json(json, kTwoArms).probability("organism"), 0.0);
}

TEST(Submission, ErrorsNameTheField) {
  const auto with = [](auto change) {
    Json json = valid();
    change(json);
    return refusal(json);
  };
  EXPECT_NE(with([](Json& j) { j.erase("arms"); }).find("submission lacks the key 'arms'"), std::string::npos);
  EXPECT_NE(with([](Json& j) { j["arms"]["wolf"] = 0.1; }).find("submission.arms names 'wolf'"), std::string::npos);
  EXPECT_NE(with([](Json& j) { j["arms"]["clean"] = 0.9; }).find("adds up to"), std::string::npos);
  EXPECT_NE(with([](Json& j) { j["arms"]["clean"] = -1; }).find("submission.arms.clean must lie between 0 and 1"), std::string::npos);
  EXPECT_NE(with([](Json& j) { j["arms"]["clean"] = "half"; }).find("submission.arms.clean must be a number"), std::string::npos);
  EXPECT_NE(with([](Json& j) { j["root_cause"]["who"] = "x"; }).find("submission.root_cause holds the unknown key 'who'"),
            std::string::npos);
  EXPECT_NE(with([](Json& j) { j["places"] = "P1"; }).find("submission.places must be an array"), std::string::npos);
  EXPECT_NE(with([](Json& j) { j["places"] = {"P1", 2}; }).find("submission.places[1] must be a place's name"), std::string::npos);
  EXPECT_NE(with([](Json& j) { j["places"] = {"P1", "P1"}; }).find("submission.places[1] names 'P1' a second time"), std::string::npos);
  EXPECT_NE(with([](Json& j) { j["behaviours"] = 3; }).find("submission.behaviours must be an array"), std::string::npos);
  EXPECT_NE(with([](Json& j) { j["behaviours"][0].erase("does"); }).find("submission.behaviours[0] lacks the key 'does'"),
            std::string::npos);
  EXPECT_NE(with([](Json& j) { j["behaviours"][0]["confidence"] = 2; }).find("behaviours[0].confidence"), std::string::npos);
  EXPECT_NE(with([](Json& j) { j["behaviours"][0]["does"] = {{"regex", "("}}; }).find("behaviours[0].does.regex"), std::string::npos);
}

TEST(Submission, AMillionBehavioursAreRefused) {
  Json json = valid();
  const Json claim = json["behaviours"][0];
  json["behaviours"] = std::vector<Json>(Submission::kClaims + 1, claim);
  EXPECT_NE(refusal(json).find("at most 1000"), std::string::npos);

  TemporaryFolder folder;
  const auto path = folder.path() / "big.json";
  write_text(path, std::string(Submission::kBytes + 1, ' '));
  EXPECT_THROW(read_submission(path, kTwoArms), Error);
}

}  // namespace
}  // namespace assay
