#include "assay/base/rng.h"

#include <sodium.h>

#include <cassert>
#include <cmath>
#include <numbers>

namespace assay {
namespace {

/// Words 2 and 3 of the counter. Draws leave them 0, so a key made by fork(number) is never a draw of its parent.
constexpr std::array<std::uint32_t, 2> kForkNumber = {0x6e756d62, 0x6572};

std::array<std::uint32_t, 2> words(std::uint64_t x) { return {static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(x >> 32)}; }

}  // namespace

std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> c, std::array<std::uint32_t, 2> k) {
  // Constants of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 4.3.
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * c[0], b = std::uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<std::uint32_t>(b >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(b),
         static_cast<std::uint32_t>(a >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(a)};
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return c;
}

Rng::Rng(std::uint64_t seed) : Rng(seed, 0) {}

Rng Rng::fork(std::string_view name) const {
  // SipHash-2-4 keyed by this stream's key: a pseudo-random function, 64 bits out.
  std::array<unsigned char, crypto_shorthash_KEYBYTES> key{};
  for (int i = 0; i < 8; ++i) key[static_cast<std::size_t>(i)] = static_cast<unsigned char>(key_ >> (8 * i));
  key[8] = 1;  // the streams forked by name
  std::array<unsigned char, crypto_shorthash_BYTES> hash{};
  crypto_shorthash(hash.data(), reinterpret_cast<const unsigned char*>(name.data()), name.size(), key.data());
  std::uint64_t forked = 0;
  for (int i = 0; i < 8; ++i) forked |= std::uint64_t{hash[static_cast<std::size_t>(i)]} << (8 * i);
  return Rng(forked, 0);
}

Rng Rng::fork(std::uint64_t number) const {
  const auto n = words(number);
  const auto block = philox4x32_10({n[0], n[1], kForkNumber[0], kForkNumber[1]}, words(key_));
  return Rng(block[0] | std::uint64_t{block[1]} << 32, 0);
}

void Rng::refill() {
  const auto n = words(counter_++);
  block_ = philox4x32_10({n[0], n[1], 0, 0}, words(key_));
  used_ = 0;
}

std::uint32_t Rng::next_u32() {
  if (used_ == 4) refill();
  return block_[static_cast<std::size_t>(used_++)];
}

std::uint64_t Rng::next_u64() {
  const std::uint64_t low = next_u32();
  return low | std::uint64_t{next_u32()} << 32;
}

double Rng::uniform() { return static_cast<double>(next_u64() >> 11) * 0x1p-53; }

std::uint64_t Rng::below(std::uint64_t n) {
  assert(n > 0);
  // Lemire, "Fast random integer generation in an interval" (2019): the high word of x * n, rejecting the few x that would favour small
  // results.
  const std::uint64_t reject_below = -n % n;
  for (;;) {
    const auto product = static_cast<unsigned __int128>(next_u64()) * n;
    if (static_cast<std::uint64_t>(product) >= reject_below) return static_cast<std::uint64_t>(product >> 64);
  }
}

double Rng::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));  // 1 - u is in (0, 1]
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

}  // namespace assay
