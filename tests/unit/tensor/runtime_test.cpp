#include "assay/tensor/runtime.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <array>
#include <thread>

namespace {

// at::parallel_for is a plain loop in a file that is compiled without the parallel runtime.
TEST(Runtime, WorkIsSharedByTheThreadsThatWereAskedFor) {
#ifndef _OPENMP
  GTEST_SKIP() << "built without OpenMP";
#endif
  const int before = at::get_num_threads();
  at::set_num_threads(2);
  std::array<std::thread::id, 2> ran;
  at::parallel_for(0, 2, 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = begin; i < end; ++i) ran[static_cast<std::size_t>(i)] = std::this_thread::get_id();
  });
  at::set_num_threads(before);
  EXPECT_NE(ran[0], ran[1]);
}

}  // namespace
