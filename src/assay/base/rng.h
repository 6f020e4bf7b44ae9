#pragma once
#include <array>
#include <cstdint>
#include <iterator>
#include <span>
#include <string_view>
#include <utility>

namespace assay {

/// One block of Philox 4x32-10.
std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key);

/// Counter-based random stream (Philox 4x32-10; Salmon et al., SC 2011): the n-th draw depends only on (key, n), so a stream can be
/// re-created anywhere from its seed and names. Cheap to copy. Same draws on every platform.
class Rng {
 public:
  explicit Rng(std::uint64_t seed);

  /// A stream independent of this one and of every stream forked under another name or number. Does not advance this stream and does not
  /// depend on how far it has advanced.
  [[nodiscard]] Rng fork(std::string_view name) const;
  [[nodiscard]] Rng fork(std::uint64_t number) const;

  std::uint32_t next_u32();
  std::uint64_t next_u64();
  /// Uniform in [0, 1), 53 bits.
  double uniform();
  /// Uniform in [0, n), without modulo bias. n > 0.
  std::uint64_t below(std::uint64_t n);
  /// Standard normal (Box-Muller).
  double normal();
  bool chance(double p) { return uniform() < p; }

  template <class T>
  void shuffle(std::span<T> items) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }
  /// One element, uniformly. items must not be empty.
  template <class Container>
  const auto& pick(const Container& items) {
    return items[below(std::size(items))];
  }

  // For UniformRandomBitGenerator.
  using result_type = std::uint64_t;
  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return ~0ULL; }
  result_type operator()() { return next_u64(); }

 private:
  Rng(std::uint64_t key, std::uint64_t counter) : key_(key), counter_(counter) {}
  void refill();

  std::uint64_t key_ = 0;
  std::uint64_t counter_ = 0;             // number of 128-bit blocks drawn
  std::array<std::uint32_t, 4> block_{};  // the current block
  int used_ = 4;                          // words of it already handed out
};

}  // namespace assay
