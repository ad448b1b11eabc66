// SPDX-License-Identifier: Apache-2.0
// The storage types of 16 and 8 bits. Our own, because no 16-bit float works in both g++ 12 and clang 14.
// Keys and values may be stored in them; arithmetic never is.
#ifndef SKIM_CORE_STORAGE_H_
#define SKIM_CORE_STORAGE_H_

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "skim/core/config.h"

namespace skim::inline SKIM_ABI {

/// IEEE binary16: 11 bits of precision, largest finite value 65504.
struct F16 {
  std::uint16_t bits = 0;
};

/// bfloat16: the upper half of a float, 8 bits of precision, the range of float.
struct BF16 {
  std::uint16_t bits = 0;
};

/// One byte of a quantised row. A row of d values is d signed bytes with their common scale, a float at any
/// alignment, right behind them: value c is scale * byte[c]. So one row is one piece of memory, and a stride
/// between rows is at least d + 4 bytes. `quantize_row` makes one. Against quantised keys a query counts as rounded to
/// 16 bits relative to its largest value; one that holds an infinity has logits of NaN.
struct I8 {
  std::int8_t byte = 0;
};

/// What a key or value row may be stored as, given the arithmetic `Real`.
template <class T, class Real>
inline constexpr bool kIsStorage =
    std::is_same_v<Real, double>
        ? std::is_same_v<T, double>
        : std::is_same_v<T, float> || std::is_same_v<T, F16> || std::is_same_v<T, BF16> || std::is_same_v<T, I8>;

/// How many T a row of d values takes: the least stride between rows that do not overlap.
template <class T>
constexpr std::size_t row_values(std::size_t d) {
  return std::is_same_v<T, I8> ? d + sizeof(float) : d;
}

constexpr float to_float(float x) { return x; }
constexpr double to_float(double x) { return x; }

constexpr float to_float(BF16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}

constexpr float to_float(F16 x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x8000u) << 16;
  const std::uint32_t exponent = (x.bits >> 10) & 0x1Fu;
  const std::uint32_t mantissa = x.bits & 0x3FFu;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

namespace storage_detail {

// Drops the low `shift` bits, rounding to nearest, ties to even.
constexpr std::uint32_t round_shift(std::uint32_t bits, int shift) {
  const std::uint32_t half = (1u << (shift - 1)) - 1 + ((bits >> shift) & 1u);
  return (bits + half) >> shift;
}

}  // namespace storage_detail

/// Rounds to nearest, ties to even. A value beyond the largest finite one becomes infinite, as IEEE
/// conversion does; a NaN stays a NaN.
template <class T>
constexpr T from_float(float x) {
  if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
    return x;
  } else {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
    std::uint32_t out = 0;
    if constexpr (std::is_same_v<T, BF16>) {
      out = magnitude > 0x7F800000u ? (magnitude >> 16) | 0x40u  // keep a NaN a NaN
                                    : storage_detail::round_shift(magnitude, 16);
    } else {
      static_assert(std::is_same_v<T, F16>);
      if (magnitude > 0x7F800000u) {
        out = 0x7E00u;
      } else if (magnitude >= 0x47800000u) {  // 2^16 and above
        out = 0x7C00u;
      } else if (magnitude < 0x38800000u) {  // below 2^-14: subnormal; the float unit rounds for us
        const float scaled = std::bit_cast<float>(magnitude) + 0.5f;  // one ulp of 0.5 is 2^-24
        out = std::bit_cast<std::uint32_t>(scaled) - 0x3F000000u;
      } else {  // rounding may carry into the exponent, up to infinity: both are right
        out = storage_detail::round_shift(magnitude - 0x38000000u, 13);
      }
    }
    return T{static_cast<std::uint16_t>(out | sign)};
  }
}

// ---- whole rows -----------------------------------------------------------------------------------------
// The loops have internal linkage, as all loops of core.

/// The scale behind the d bytes of a row.
inline float scale_of(const I8* row, std::size_t d) {
  float scale;
  std::memcpy(&scale, row + d, sizeof(scale));
  return scale;
}

/// Quantises a row: scale = max |x| / 127, bytes rounded to nearest, so |x - scale * byte| <= scale / 2 (and an
/// ulp). to: row_values<I8>(d). A row of zeros has scale 0. A row that holds an infinity or a NaN has no scale, and
/// must not turn finite: its scale is NaN, which makes its logit (of a key) or all that it is added to (of a value)
/// NaN.
static inline void quantize_row(const float* from, std::size_t d, I8* to) {
  constexpr std::uint32_t kInfinite = 0x7F800000u;
  std::uint32_t largest = 0;  // magnitudes of floats are in the order of their bits
  for (std::size_t c = 0; c < d; ++c) {
    const std::uint32_t magnitude = std::bit_cast<std::uint32_t>(from[c]) & 0x7FFFFFFFu;
    largest = magnitude > largest ? magnitude : largest;
  }
  const float max = std::bit_cast<float>(largest);
  float scale = max / 127;
  // Rounded up, so that no quotient is beyond 127: a subnormal scale has few bits.
  if (scale * 127 < max) scale = std::bit_cast<float>(std::bit_cast<std::uint32_t>(scale) + 1);
  const bool finite = largest < kInfinite;
  if (!finite) scale = std::numeric_limits<float>::quiet_NaN();
  const float divisor = finite && largest != 0 ? scale : std::numeric_limits<float>::max();
  for (std::size_t c = 0; c < d; ++c) {
    // Added to 1.5 * 2^23 a small number is rounded to nearest, ties to even, and its low bits are an integer.
    const float shifted = (finite ? from[c] : 0.0f) / divisor + 0x1.8p23f;
    to[c].byte = static_cast<std::int8_t>(std::bit_cast<std::uint32_t>(shifted) & 0xFFu);
  }
  std::memcpy(static_cast<void*>(to + d), &scale, sizeof(scale));
}

/// A row of d floats in storage type T; each value rounded on its own, or the row quantised.
/// to: row_values<T>(d).
template <class T>
static void from_floats(const float* from, std::size_t d, T* to) {
  if constexpr (std::is_same_v<T, I8>) {
    quantize_row(from, d, to);
  } else {
    for (std::size_t c = 0; c < d; ++c) to[c] = from_float<T>(from[c]);
  }
}

/// The numbers that a stored row of d values stands for.
template <class T>
static void to_floats(const T* from, std::size_t d, float* to) {
  if constexpr (std::is_same_v<T, I8>) {
    const float scale = scale_of(from, d);
    for (std::size_t c = 0; c < d; ++c) to[c] = scale * static_cast<float>(from[c].byte);
  } else {
    for (std::size_t c = 0; c < d; ++c) to[c] = to_float(from[c]);
  }
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_STORAGE_H_
