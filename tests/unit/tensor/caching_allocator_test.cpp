#include "assay/tensor/caching_allocator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "assay/tensor/tensor.h"

namespace assay {
namespace {

TEST(CachingAllocator, HandsOutWhatWasGivenBack) {
  install_caching_allocator();
  const void* first = nullptr;
  {
    const Tensor a = at::empty({1000, 1000}, at::kFloat);
    first = a.data_ptr();
  }
  EXPECT_GE(cached_bytes(), 4000000U);
  const Tensor b = at::ones({999, 1000}, at::kFloat);  // the same size class
  EXPECT_EQ(b.data_ptr(), first);
  release_cached_memory();
  EXPECT_EQ(cached_bytes(), 0U);
  EXPECT_EQ(b.sum().item<float>(), 999000.0F);
}

TEST(CachingAllocator, BlocksAreAlignedAndDoNotOverlap) {
  install_caching_allocator();
  std::vector<Tensor> tensors;
  for (std::int64_t n : {1, 127, 128, 129, 255, 1000, 4096, 70000, 600000, 1100000}) {
    for (int copy = 0; copy < 2; ++copy) tensors.push_back(at::full({n}, static_cast<float>(tensors.size())));
  }
  EXPECT_EQ(at::empty({0}).numel(), 0);
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensors[i].data_ptr()) % 64, 0U);
    EXPECT_TRUE(tensors[i].eq(static_cast<float>(i)).all().item<bool>()) << i;
  }
}

TEST(CachingAllocator, ServesThreads) {
  install_caching_allocator();
  std::vector<std::thread> threads;
  std::vector<int> failures(4, 0);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &failures] {
      for (int i = 0; i < 500; ++i) {
        const Tensor a = at::full({1 + i * 7}, static_cast<float>(t));
        failures[static_cast<std::size_t>(t)] += !a.eq(static_cast<float>(t)).all().item<bool>();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace assay
