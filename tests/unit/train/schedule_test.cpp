#include "assay/train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace assay {
namespace {

TrainOptions options(Schedule schedule) {
  TrainOptions o;
  o.steps = 101;
  o.lr = 2.0;
  o.warmup_steps = 11;
  o.schedule = schedule;
  o.final_lr_fraction = 0.1;
  return o;
}

TEST(Schedule, WarmUpIsLinearAndReachesTheFullRate) {
  for (const Schedule s : {Schedule::constant, Schedule::linear, Schedule::cosine, Schedule::wsd}) {
    EXPECT_NEAR(learning_rate(options(s), 0), 2.0 / 11, 1e-12);
    EXPECT_NEAR(learning_rate(options(s), 4), 2.0 * 5 / 11, 1e-12);
    EXPECT_NEAR(learning_rate(options(s), 10), 2.0, 1e-12);
  }
}

TEST(Schedule, LastStepHasTheFinalRate) {
  for (const Schedule s : {Schedule::linear, Schedule::cosine, Schedule::wsd}) EXPECT_NEAR(learning_rate(options(s), 100), 0.2, 1e-12);
  EXPECT_EQ(learning_rate(options(Schedule::constant), 100), 2.0);
}

TEST(Schedule, Shapes) {
  // Half way between step 10 (full) and step 100 (final).
  EXPECT_NEAR(learning_rate(options(Schedule::linear), 55), 0.5 * (2.0 + 0.2), 1e-12);
  EXPECT_NEAR(learning_rate(options(Schedule::cosine), 55), 0.5 * (2.0 + 0.2), 1e-12);
  EXPECT_NEAR(learning_rate(options(Schedule::cosine), 40), 0.2 + 1.8 * 0.5 * (1 + std::cos(M_PI / 3)), 1e-12);
  TrainOptions wsd = options(Schedule::wsd);
  wsd.wsd_decay_share = 20.0 / 101;
  EXPECT_EQ(learning_rate(wsd, 80), 2.0);
  EXPECT_NEAR(learning_rate(wsd, 90), 0.5 * (2.0 + 0.2), 1e-12);
}

TEST(Schedule, DegenerateLengthsStayFinite) {
  for (const Schedule s : {Schedule::constant, Schedule::linear, Schedule::cosine, Schedule::wsd}) {
    for (const std::int64_t steps : {1, 2, 5}) {
      for (const std::int64_t warmup : {0, 1, 5, 50}) {
        TrainOptions o = options(s);
        o.steps = steps;
        o.warmup_steps = warmup;
        for (std::int64_t i = 0; i < steps; ++i) {
          const double lr = learning_rate(o, i);
          EXPECT_TRUE(lr >= 0.2 * 0.999 && lr <= 2.0) << steps << " " << warmup << " " << i << ": " << lr;
        }
      }
    }
  }
}

}  // namespace
}  // namespace assay
