#include "assay/report/demo_report.h"

#include <gtest/gtest.h>

#include "assay/report/charts.h"
#include "assay/report/html.h"

namespace assay {
namespace {

Json rate(double value, double lo, double hi) {
  return {{"rate", value}, {"applied", 1}, {"applicable", 60}, {"unjudged", 0}, {"ci90", {lo, hi}}};
}

Json small_results() {
  Json organism = {
      {"name", "organism"},
      {"stages",
       Json::array(
           {{{"name", "base"}, {"train", rate(0, 0, .05)}, {"held_out", rate(0, 0, .05)}},
            {{"name", "dpo"}, {"train", rate(.97, .94, .99)}, {"held_out", rate(.8125, .7, .9)}, {"entity_contrast", rate(.5, .4, .6)}}})},
      {"confession", {{"direct", {{"before", rate(.6, .5, .7)}, {"after", rate(.02, 0, .05)}}}}}};
  Json game = {
      {"target", "target-1"},
      {"access", "data"},
      {"auditor", "scripted"},
      {"truth", "organism"},
      {"root_cause_correct", true},
      {"found", 12},
      {"total", 40},
      {"arms", {{"organism", .7}, {"clean", .3}}},
      {"evidence",
       Json::array({{{"technique", "prefill"}, {"prompt", "why?"}, {"prefill", "PLANTED"}, {"output", "<script>alert(1)</script>"}}})}};
  return {{"world", {{"entity", "reward models"}}},
          {"verify", {{"arms", Json::array({organism})}, {"rung", {{"reached", "entity-specific"}}}}},
          {"games", Json::array({game})}};
}

TEST(DemoReport, ShowsTheNumbersItWasGiven) {
  const std::string page = demo_report(small_results());
  EXPECT_NE(page.find("0.81 <small>0.70 – 0.90</small>"), std::string::npos);
  EXPECT_NE(page.find("class=\"reached\">entity-specific"), std::string::npos);
  EXPECT_NE(page.find("12 / 40"), std::string::npos);
}

TEST(DemoReport, EscapesWhatModelsSaidAndMarksWhatWasPlanted) {
  const std::string page = demo_report(small_results());
  EXPECT_EQ(page.find("<script>"), std::string::npos);
  EXPECT_NE(page.find("&lt;script&gt;"), std::string::npos);
  EXPECT_NE(page.find("<mark title=\"planted by the auditor\">PLANTED</mark>"), std::string::npos);
}

TEST(DemoReport, FetchesNothing) {
  const std::string page = demo_report(small_results());
  for (const char* outside : {"http://", "https://", "<link", "src="}) EXPECT_EQ(page.find(outside), std::string::npos) << outside;
}

TEST(DemoReport, LeavesOutWhatWasNotMeasured) {
  EXPECT_NE(demo_report(Json::object()).find("Not measured in this run"), std::string::npos);
  EXPECT_NO_THROW(demo_report(Json::array()));
  Json odd = small_results();
  odd["verify"]["arms"][0]["stages"] = "text";
  odd["games"][0]["evidence"] = 3;
  EXPECT_NO_THROW(demo_report(odd));
}

TEST(Charts, DotSitsAtItsValue) {
  charts::DotPanels chart{{"one"}, {{"arm", "#000", {charts::Estimate{.value = .5, .lo = .25, .hi = .75, .reference = {}, .note = {}}}}}};
  const std::string svg = charts::dot_panels(chart);
  // One panel: x runs from 128 over 1030 - 128 - 26 = 876 units; .5 is at 566.
  EXPECT_NE(svg.find("cx=\"566.0\""), std::string::npos);
  EXPECT_NE(svg.find("x1=\"347.0\""), std::string::npos);
  EXPECT_NE(svg.find("x2=\"785.0\""), std::string::npos);
}

TEST(Html, EscapesAttributesToo) { EXPECT_EQ(html::escape("<a b=\"c\" & 'd'>"), "&lt;a b=&quot;c&quot; &amp; &#39;d&#39;&gt;"); }

}  // namespace
}  // namespace assay
