// SPDX-License-Identifier: Apache-2.0
// A fixed random rotation: three rounds of random signs and a Walsh-Hadamard transform, kLanes rows at a time.
#if defined(SKIM_INDEX_ROTATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_ROTATE_INL_H_
#undef SKIM_INDEX_ROTATE_INL_H_
#else
#define SKIM_INDEX_ROTATE_INL_H_
#endif

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "skim/core/random.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

constexpr int kRounds = 3;

/// Turns kLanes vectors at once: x[c * kLanes + t] is component c < size of vector t, size a power of two. The same
/// rotation always: signs come from a counter with a fixed key.
inline void rotate(float* HWY_RESTRICT x, std::size_t size) {
  constexpr std::uint64_t kKey = 0x536B6574636831;
  const Tag<float> tag;
  constexpr std::size_t kN = kLanes<float>;
  const float shrink = 1 / std::sqrt(static_cast<float>(size));
  for (int round = 0; round < kRounds; ++round) {
    for (std::size_t c = 0; c < size; c += 128) {
      const Philox::Block signs = Philox::block(kKey, {static_cast<std::uint32_t>(round), static_cast<std::uint32_t>(c), 0, 0});
      for (std::size_t j = 0; j < 128 && c + j < size; ++j) {
        const float factor = (signs[j / 32] >> (j % 32) & 1u) != 0 ? -shrink : shrink;
        float* at = x + (c + j) * kN;
        hn::Store(hn::Mul(hn::Load(tag, at), hn::Set(tag, factor)), tag, at);
      }
    }
    for (std::size_t half = size / 2; half != 0; half /= 2) {
      for (std::size_t first = 0; first < size; first += 2 * half) {
        for (std::size_t c = first; c < first + half; ++c) {
          const auto a = hn::Load(tag, x + c * kN), b = hn::Load(tag, x + (c + half) * kN);
          hn::Store(hn::Add(a, b), tag, x + c * kN);
          hn::Store(hn::Sub(a, b), tag, x + (c + half) * kN);
        }
      }
    }
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_ROTATE_INL_H_
