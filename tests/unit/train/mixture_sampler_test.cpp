#include "assay/train/objectives/mixture_sampler.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace assay {
namespace {

std::vector<std::vector<std::int64_t>> lengths() {
  std::vector<std::vector<std::int64_t>> all(2);
  for (std::int64_t i = 0; i < 40; ++i) all[0].push_back(3 + i % 9);
  for (std::int64_t i = 0; i < 25; ++i) all[1].push_back(5 + (7 * i) % 13);
  return all;
}

TEST(MixtureSampler, BatchesAreFullWithoutOverflowing) {
  MixtureSampler sampler(lengths(), {1, 3}, 64, 7);
  for (std::int64_t k = 0; k < 50; ++k) {
    std::int64_t tokens = 0;
    for (const auto& pick : sampler.batch(k)) tokens += lengths()[pick.part][pick.example];
    EXPECT_LE(tokens, 64);
    EXPECT_GT(tokens, 64 - 17);  // nothing longer than 17 exists, so a larger hole would have been filled
  }
}

TEST(MixtureSampler, TokensFollowTheShares) {
  MixtureSampler sampler(lengths(), {1, 3}, 64, 7);
  std::map<std::size_t, double> tokens;
  for (std::int64_t k = 0; k < 100; ++k) {
    for (const auto& pick : sampler.batch(k)) tokens[pick.part] += static_cast<double>(lengths()[pick.part][pick.example]);
  }
  EXPECT_NEAR(tokens[1] / tokens[0], 3.0, 0.05);
}

TEST(MixtureSampler, AnEpochShowsEachExampleOnceInAnOrderOfItsOwn) {
  MixtureSampler sampler(lengths(), {1, 1}, 64, 7);
  std::vector<std::size_t> seen;
  for (std::int64_t k = 0; seen.size() < 80; ++k) {
    for (const auto& pick : sampler.batch(k)) {
      if (pick.part == 0) seen.push_back(pick.example);
    }
  }
  const std::vector<std::size_t> first(seen.begin(), seen.begin() + 40), second(seen.begin() + 40, seen.begin() + 80);
  EXPECT_EQ(std::set<std::size_t>(first.begin(), first.end()).size(), 40u);
  EXPECT_EQ(std::set<std::size_t>(second.begin(), second.end()).size(), 40u);
  EXPECT_NE(first, second);
}

TEST(MixtureSampler, ABatchDependsOnSeedAndNumberOnly) {
  MixtureSampler in_order(lengths(), {1, 2}, 64, 7), jumping(lengths(), {1, 2}, 64, 7), other(lengths(), {1, 2}, 64, 8);
  std::vector<std::vector<MixtureSampler::Pick>> batches;
  for (std::int64_t k = 0; k < 20; ++k) batches.push_back(in_order.batch(k));
  for (const std::int64_t k : {13, 13, 2, 19, 0}) EXPECT_EQ(jumping.batch(k), batches[static_cast<std::size_t>(k)]) << k;
  EXPECT_NE(other.batch(0), batches[0]);
}

}  // namespace
}  // namespace assay
