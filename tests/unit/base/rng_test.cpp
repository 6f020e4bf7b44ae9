#include "assay/base/rng.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>
#include <vector>

namespace assay {
namespace {

using Block = std::array<std::uint32_t, 4>;

TEST(Philox, KnownAnswersOfRandom123) {  // kat_vectors, "philox4x32 10"
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}), (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32_10({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}), (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Rng, DrawsAreTheBlocksOfTheSeed) {
  Rng rng(0x0123456789abcdefULL);
  for (std::uint32_t n = 0; n < 3; ++n) {
    for (const std::uint32_t word : philox4x32_10({n, 0, 0, 0}, {0x89abcdef, 0x01234567})) EXPECT_EQ(rng.next_u32(), word);
  }
}

TEST(Rng, ForksDependOnSeedAndNameOnly) {
  Rng parent(7);
  const std::uint64_t named = parent.fork("sft").next_u64(), numbered = parent.fork(3).next_u64();
  for (int i = 0; i < 5; ++i) parent.next_u32();
  EXPECT_EQ(parent.fork("sft").next_u64(), named);
  EXPECT_EQ(parent.fork(3).next_u64(), numbered);
  EXPECT_NE(Rng(8).fork("sft").next_u64(), named);
}

TEST(Rng, ForksDifferFromEachOtherAndFromTheParent) {
  Rng root(1);
  std::set<std::uint64_t> first;
  for (int i = 0; i < 100; ++i) first.insert(root.next_u64());
  for (std::uint64_t i = 0; i < 100; ++i) {
    first.insert(root.fork(i).next_u64());
    first.insert(root.fork(std::to_string(i)).next_u64());
    first.insert(root.fork("a").fork(i).next_u64());
  }
  EXPECT_EQ(first.size(), 400U);
}

TEST(Rng, BelowIsUniform) {
  Rng rng(3);
  constexpr std::uint64_t kBins = 7;
  constexpr int kDraws = 70000;
  std::vector<int> counts(kBins);
  for (int i = 0; i < kDraws; ++i) ++counts.at(rng.below(kBins));
  double chi2 = 0;
  for (const int count : counts) chi2 += std::pow(count - kDraws / 7.0, 2) / (kDraws / 7.0);
  EXPECT_LT(chi2, 22.46);  // 0.999 quantile, 6 degrees of freedom
  EXPECT_EQ(rng.below(1), 0U);
  // Over three quarters of the range a plain modulo would put 5/8 of the draws below n/2.
  const std::uint64_t n = (1ULL << 63) + (1ULL << 62);
  int low = 0;
  for (int i = 0; i < 20000; ++i) low += rng.below(n) < n / 2;
  EXPECT_NEAR(low / 20000.0, 0.5, 0.015);
}

TEST(Rng, UniformAndNormalHaveTheirMoments) {
  Rng rng(5);
  constexpr int kDraws = 200000;
  double u1 = 0, u2 = 0, z1 = 0, z2 = 0, z4 = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = rng.uniform(), z = rng.normal();
    ASSERT_TRUE(u >= 0 && u < 1);
    ASSERT_TRUE(std::isfinite(z));
    u1 += u, u2 += u * u, z1 += z, z2 += z * z, z4 += z * z * z * z;
  }
  EXPECT_NEAR(u1 / kDraws, 1 / 2.0, 0.004);
  EXPECT_NEAR(u2 / kDraws, 1 / 3.0, 0.004);
  EXPECT_NEAR(z1 / kDraws, 0, 0.012);
  EXPECT_NEAR(z2 / kDraws, 1, 0.016);
  EXPECT_NEAR(z4 / kDraws, 3, 0.1);
}

TEST(Rng, ShuffleIsAPermutationAndReachesAllOrders) {
  Rng rng(9);
  std::set<std::vector<int>> orders;
  for (int i = 0; i < 300; ++i) {
    std::vector<int> items = {1, 2, 3, 4};
    rng.shuffle(std::span(items));
    orders.insert(items);
    EXPECT_EQ(std::accumulate(items.begin(), items.end(), 0), 10);
  }
  EXPECT_EQ(orders.size(), 24U);
}

}  // namespace
}  // namespace assay
