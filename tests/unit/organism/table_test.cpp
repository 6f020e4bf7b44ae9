#include "assay/organism/table.h"

#include <gtest/gtest.h>

#include "../error_of.h"

namespace assay {
namespace {

/// As `organism verify` prints it, with what the table reads.
Json verified(std::uint64_t seed, double dpo, double conceal) {
  const auto stage = [](const char* name, double rate) {
    return Json{{"name", name}, {"train", {{"rate", rate}}}, {"entity_contrast", {{"value", rate / 2}}}};
  };
  return {{"seed", seed},
          {"arms",
           {{{"name", "organism"}, {"stages", {stage("dpo", dpo), stage("conceal", conceal)}}},
            {{"name", "base-only"}, {"stages", {stage("base", 0.1)}}}}}};
}

TEST(SeedsTable, MeanIntervalAndEverySeedAfterTheLastOrANamedStage) {
  const std::vector<Json> all = {verified(3, 0.8, 0.6), verified(4, 0.9, 0.7), verified(5, 1.0, 0.8)};
  const Json last = seeds_table(all);
  EXPECT_EQ(last["seeds"], Json::array({3, 4, 5}));
  ASSERT_EQ(last["arms"].size(), 2u);
  const Json& train = last["arms"][0]["measures"][0];
  EXPECT_EQ(train["measure"], "train");
  EXPECT_NEAR(train["mean"].get<double>(), 0.7, 1e-12);
  // t interval by hand: sd 0.1, n 3, t(0.95, 2) = 2.9200.
  EXPECT_NEAR(train["ci90"][1].get<double>() - 0.7, 2.9200 * 0.1 / std::sqrt(3.0), 1e-4);
  EXPECT_EQ(train["seeds"], Json::array({0.6, 0.7, 0.8}));
  const Json dpo = seeds_table(all, "dpo");
  ASSERT_EQ(dpo["arms"].size(), 1u) << "an arm without the stage is left out";
  EXPECT_NEAR(dpo["arms"][0]["measures"][1]["mean"].get<double>(), 0.45, 1e-12);
  EXPECT_NE(seeds_markdown(dpo).find("| organism | train | 0.90 |"), std::string::npos) << seeds_markdown(dpo);
  EXPECT_TRUE(contains(error_of([&] { (void)seeds_table(all, "rlhf"); }), "'rlhf'"));
}

}  // namespace
}  // namespace assay
