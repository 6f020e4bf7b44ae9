#include "assay/tensor/caching_allocator.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

namespace assay {
namespace {

constexpr std::size_t kAlignment = 64, kHuge = std::size_t{2} << 20;

/// Sizes from 512 bytes on: 2^e * (8 + s) / 8, s = 0..7.
constexpr std::size_t kFirstExponent = 9, kSteps = 8, kBins = (48 - kFirstExponent) * kSteps;
std::size_t bin_of(std::size_t bytes) {
  if (bytes <= std::size_t{1} << kFirstExponent) return 0;
  const auto exponent = static_cast<std::size_t>(std::bit_width(bytes - 1)) - 1;
  const auto step = ((bytes - 1) >> (exponent - 3)) - 7;  // 1..8 eighths above 2^exponent
  return (exponent - kFirstExponent) * kSteps + step;
}
std::size_t size_of(std::size_t bin) { return ((std::size_t{8} + bin % kSteps) << (bin / kSteps + kFirstExponent)) >> 3; }

class CachingAllocator final : public c10::Allocator {
 public:
  static CachingAllocator& instance() {
    static auto* allocator = new CachingAllocator;  // never destroyed: tensors may outlive everything
    return *allocator;
  }

  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &CachingAllocator::give_back, c10::Device(c10::kCPU)};
    void* data = take(bin_of(bytes));
    return {data, data, &CachingAllocator::give_back, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &CachingAllocator::give_back; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { std::memcpy(to, from, bytes); }

  std::size_t cached() {
    const std::lock_guard lock(mutex_);
    return cached_;
  }
  void release() {
    const std::lock_guard lock(mutex_);
    release_locked();
  }

 private:
  /// Stands before each block.
  struct alignas(kAlignment) Header {
    std::size_t bin;
  };

  CachingAllocator() {
    const auto pages = static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)), page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    limit_ = pages * page / 4;
  }

  void* take(std::size_t bin) {
    {
      const std::lock_guard lock(mutex_);
      auto& free = free_.at(bin);
      if (!free.empty()) {
        void* data = free.back();
        free.pop_back();
        cached_ -= size_of(bin);
        return data;
      }
    }
    void* data = from_system(bin);
    if (!data) {
      release();
      data = from_system(bin);
    }
    if (!data) throw std::bad_alloc();
    return data;
  }

  static void* from_system(std::size_t bin) {
    const std::size_t bytes = sizeof(Header) + size_of(bin);
    const bool large = bytes >= kHuge;
    void* base = nullptr;
    if (posix_memalign(&base, large ? kHuge : kAlignment, bytes) != 0) return nullptr;
    if (large) madvise(base, bytes, MADV_HUGEPAGE);
    return new (base) Header{bin} + 1;
  }

  static void give_back(void* data) {
    if (data) instance().put(data);
  }

  void put(void* data) {
    const auto bin = (static_cast<Header*>(data) - 1)->bin;
    {
      const std::lock_guard lock(mutex_);
      if (cached_ + size_of(bin) <= limit_) {
        free_.at(bin).push_back(data);
        cached_ += size_of(bin);
        return;
      }
    }
    std::free(static_cast<Header*>(data) - 1);
  }

  void release_locked() {
    for (auto& free : free_) {
      for (void* data : free) std::free(static_cast<Header*>(data) - 1);
      free.clear();
    }
    cached_ = 0;
  }

  std::mutex mutex_;
  std::array<std::vector<void*>, kBins> free_;
  std::size_t cached_ = 0, limit_ = 0;
};

}  // namespace

void install_caching_allocator() { c10::SetCPUAllocator(&CachingAllocator::instance(), /*priority=*/1); }
std::size_t cached_bytes() { return CachingAllocator::instance().cached(); }
void release_cached_memory() { CachingAllocator::instance().release(); }

}  // namespace assay
