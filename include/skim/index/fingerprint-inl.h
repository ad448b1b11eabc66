// SPDX-License-Identifier: Apache-2.0
// What an index remembers of the rows it has seen: a hash of 64 bits of each of its pieces.
#if defined(SKIM_INDEX_FINGERPRINT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_FINGERPRINT_INL_H_
#undef SKIM_INDEX_FINGERPRINT_INL_H_
#else
#define SKIM_INDEX_FINGERPRINT_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "skim/core/kv.h"
#include "skim/core/position.h"
#include "skim/core/storage.h"
#include "skim/kernel/block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// A hash of rows one after the other, of their bytes as they are stored: where they lie changes nothing, their order
/// does. As in XXH3 (Collet) eight lanes of 64 bits add up products of the halves of what is read, but each step has keys
/// of its own, so that nothing need be mixed in between. It finds accidents, not adversaries.
class RowHash {
 public:
  /// One row of d values.
  template <class T>
  void add(const T* row, std::size_t d) {
    const std::size_t size = row_values<T>(d) * sizeof(T), whole = size / kStripe * kStripe;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(row);
    alignas(kStripe) std::uint8_t rest[kStripe];
    if (whole != size) {
      std::memset(rest, 0, kStripe);
      std::memcpy(rest, bytes + whole, size - whole);
    }
    const D64 d64;
    for (std::size_t lane = 0; lane < kStripe / 8; lane += hn::Lanes(d64)) {
      auto sum = hn::LoadU(d64, lanes_ + lane);
      auto key = hn::Add(hn::LoadU(d64, kKeys + lane), hn::Set(d64, steps_ * kStep));
      const auto step = hn::Set(d64, kStep);
      const auto mix = [&](const std::uint8_t* at) HWY_ATTR {
        const auto x = load(at + 8 * lane);
        const auto keyed = hn::Xor(x, key);
        sum = hn::Add(sum, hn::Add(x, multiply_low(keyed, hn::ShiftRight<32>(keyed))));
        key = hn::Add(key, step);
      };
      for (std::size_t i = 0; i < whole; i += kStripe) mix(bytes + i);
      if (whole != size) mix(rest);
      hn::StoreU(sum, d64, lanes_ + lane);
    }
    steps_ += whole / kStripe + (whole != size ? 1 : 0);
  }

  std::uint64_t value() const {
    std::uint64_t h = steps_;
    for (const std::uint64_t lane : lanes_) {  // the finaliser of MurmurHash3 (Appleby), lane after lane
      h ^= lane;
      h = (h ^ h >> 33) * 0xFF51AFD7ED558CCDu;
      h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53u;
      h ^= h >> 33;
    }
    return h;
  }

 private:
  using D64 = hn::CappedTag<std::uint64_t, 8>;
  static constexpr std::size_t kStripe = 64;
  static constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15u;
  /// The first digits of pi.
  static constexpr std::uint64_t kKeys[8] = {0x243F6A8885A308D3u, 0x13198A2E03707344u, 0xA4093822299F31D0u,
                                             0x082EFA98EC4E6C89u, 0x452821E638D01377u, 0xBE5466CF34E90C6Cu,
                                             0xC0AC29B7C97C50DDu, 0x3F84D5B5B5470917u};

  using V = hn::Vec<D64>;

#if HWY_TARGET != HWY_SCALAR
  static HWY_INLINE V load(const std::uint8_t* p) {
    const hn::Repartition<std::uint8_t, D64> d8;
    return hn::BitCast(D64(), hn::LoadU(d8, p));
  }

  /// The lower halves of a and b multiplied.
  static HWY_INLINE V multiply_low(V a, V b) {
    const hn::Repartition<std::uint32_t, D64> d32;
    return hn::MulEven(hn::BitCast(d32, a), hn::BitCast(d32, b));
  }
#else
  // A vector of one number is not one of eight bytes to Highway, nor of two halves.
  static HWY_INLINE V load(const std::uint8_t* p) {
    std::uint64_t x;
    std::memcpy(&x, p, sizeof(x));
    return hn::Set(D64(), x);
  }
  static HWY_INLINE V multiply_low(V a, V b) {
    constexpr std::uint64_t kLow = 0xFFFFFFFFu;
    return hn::Set(D64(), (hn::GetLane(a) & kLow) * (hn::GetLane(b) & kLow));
  }
#endif

  std::uint64_t steps_ = 0;
  std::uint64_t lanes_[8] = {};
};

/// Whether an index is of values too.
template <class Index>
constexpr bool kOfValues = requires(const Index& index) { index.value_dim(); };

/// What an index of type Index remembers of the positions of `run`: a hash of their keys, a block at a time, and of their
/// values if it is of values too.
template <class Index, class Kv>
std::uint64_t fingerprint(const Kv& kv, Span run) {
  RowHash hash;
  Block<PlainKv<Kv>> block;
  for (Position at = run.first; at < run.last; at += static_cast<Position>(kBlock)) {
    fill_run(plain(kv), at, std::min(kBlock, static_cast<std::size_t>(run.last - at)), block);
    for (std::size_t t = 0; t < block.count; ++t) hash.add(block.keys[t], kv.key_dim());
    if constexpr (kOfValues<Index>) {
      for (std::size_t t = 0; t < block.count; ++t) hash.add(block.values[t], kv.value_dim());
    }
  }
  return hash.value();
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_FINGERPRINT_INL_H_
