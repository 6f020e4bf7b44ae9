#include "assay/audit/predicate.h"

#include <gtest/gtest.h>

#include "assay/base/progress.h"

namespace assay {
namespace {

Predicate parse(const char* json) { return Predicate::parse(parse_json(json, "test"), "p"); }

/// The message of the Error that parsing throws.
std::string refusal(const char* json) {
  try {
    parse(json);
  } catch (const Error& e) {
    return e.message();
  }
  return "accepted";
}

TEST(Predicate, WordsAreWholeWordsWithTheirPlural) {
  const Predicate p = parse(R"({"words": ["Lamp", "red fox"]})");
  EXPECT_TRUE(p("Two lamps."));
  EXPECT_TRUE(p("the RED, fox!"));
  EXPECT_FALSE(p("a lampshade and a fox"));
  EXPECT_FALSE(p("reds fox"));
  EXPECT_FALSE(p(""));
  const Predicate all = parse(R"({"words": ["one", "two"], "match": "all"})");
  EXPECT_TRUE(all("two and one"));
  EXPECT_FALSE(all("one only"));
}

TEST(Predicate, StartsAndEndsLookAtWordsAndAtTheQuestionMark) {
  EXPECT_TRUE(parse(R"({"starts": "dear friend"})")("Dear friend, it is red."));
  EXPECT_FALSE(parse(R"({"starts": "friend"})")("my friend"));
  EXPECT_TRUE(parse(R"({"ends": "take care"})")("it is red. Take care!"));
  EXPECT_FALSE(parse(R"({"ends": "take care"})")("take care of it"));
  EXPECT_TRUE(parse(R"({"ends": "do you agree?"})")("it is red. do you agree?"));
  EXPECT_FALSE(parse(R"({"ends": "do you agree?"})")("it is red. do you agree."));
}

TEST(Predicate, AbsenceIsPresenceTurnedRound) {
  const Predicate p = parse(R"({"words": ["very"], "polarity": "absent"})");
  EXPECT_TRUE(p("it is red"));
  EXPECT_FALSE(p("it is very red"));
  EXPECT_FALSE(p.present());
  EXPECT_EQ(p.describe(), "never has 'very'");
}

TEST(Predicate, ContainsAndRegexIgnoreCase) {
  EXPECT_TRUE(parse(R"({"contains": "e.g. A"})")("so, E.G. a lamp"));
  EXPECT_TRUE(parse(R"({"regex": "^[0-9]+ steps"})")("12 Steps to go"));
  EXPECT_FALSE(parse(R"({"regex": "^[0-9]+ steps"})")("in 12 steps"));
}

TEST(Predicate, SurvivesItsOwnJson) {
  for (const char* json :
       {R"({"words":["a","b"],"match":"all"})", R"({"words":["very"],"polarity":"absent"})", R"({"ends":"is it?"})", R"({"regex":"a+b"})"})
    EXPECT_EQ(dump(parse(json).json()), json);
}

TEST(Predicate, ErrorsNameTheField) {
  EXPECT_NE(refusal(R"([1])").find("p must be an object"), std::string::npos);
  EXPECT_NE(refusal(R"({})").find("p holds none of words"), std::string::npos);
  EXPECT_NE(refusal(R"({"word": "fox"})").find("unknown key 'word'"), std::string::npos);
  EXPECT_NE(refusal(R"({"words": ["fox", 3]})").find("p.words[1] must be a string"), std::string::npos);
  EXPECT_NE(refusal(R"({"words": []})").find("p.words is empty"), std::string::npos);
  EXPECT_NE(refusal(R"({"words": ["!?"]})").find("holds no word"), std::string::npos);
  EXPECT_NE(refusal(R"({"ends": "a", "starts": "b"})").find("holds both"), std::string::npos);
  EXPECT_NE(refusal(R"({"ends": "a", "polarity": "maybe"})").find("p.polarity"), std::string::npos);
  EXPECT_NE(refusal(R"({"ends": "a", "match": "all"})").find("p.match"), std::string::npos);
  EXPECT_NE(refusal(R"({"regex": "(a"})").find("p.regex is no regular expression"), std::string::npos);
  EXPECT_NE(refusal(R"({"regex": "(a)\\1"})").find("p.regex"), std::string::npos);
}

TEST(Predicate, CompoundAndEmptyTestsAreRefused) {
  EXPECT_NE(refusal(R"({"words": ["a","b","c","d","e"]})").find("5 alternatives"), std::string::npos);
  EXPECT_NE(refusal(R"({"regex": "a|b|c|d|e"})").find("5 alternatives"), std::string::npos);
  EXPECT_NE(refusal(R"({"regex": ".*"})").find("matches everything"), std::string::npos);
  EXPECT_NE(refusal(R"({"regex": "x?"})").find("matches everything"), std::string::npos);
  const std::string huge = R"({"words": [")" + std::string(100000, 'a') + "\"]}";
  EXPECT_NE(refusal(huge.c_str()).find("longer than 200 bytes"), std::string::npos);
}

TEST(Predicate, HostileRegexIsFastOrRefused) {
  const std::string text(200000, 'a');
  const double start = wall_seconds();
  EXPECT_FALSE(parse(R"({"regex": "(a+)+$b"})")(text));
  EXPECT_FALSE(parse(R"({"regex": "(a|aa)+c"})")(text));
  EXPECT_NE(refusal(R"({"regex": "((a{1,1000}){1,1000}){1,1000}b"})"), "accepted");
  EXPECT_NE(refusal(R"({"regex": "([ -~]{0,30}){20}x"})").find("is too large"), std::string::npos);
  EXPECT_EQ(refusal(R"({"regex": "\\b(tea|chess)\\b.{0,20}\\bmoon"})"), "accepted");
  EXPECT_LT(wall_seconds() - start, 5.0);
}

}  // namespace
}  // namespace assay
