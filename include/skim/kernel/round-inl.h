// SPDX-License-Identifier: Apache-2.0
// What a query counts as against quantised keys: rounded to 16 bits relative to its largest value. On every path the
// same, or equal queries would have different logits.
#if defined(SKIM_KERNEL_ROUND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_ROUND_INL_H_
#undef SKIM_KERNEL_ROUND_INL_H_
#else
#define SKIM_KERNEL_ROUND_INL_H_
#endif

#include <bit>

#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

// Magnitudes of floats are in the order of their bits, NaN above infinity: the largest is found as an integer.

/// What queries and weights are rounded to: [-kMost16, kMost16] steps.
constexpr float kMost16 = 32767;

/// The largest magnitude of what load(c) gives for each vector from c < n on: NaN if there is one.
template <class Load>
HWY_INLINE float largest_magnitude(std::size_t n, const Load& load) {
  const Tag<std::int32_t> tag32;
  auto largest = hn::Zero(tag32);
  for (std::size_t c = 0; c < n; c += kLanes<float>) {
    largest = hn::Max(hn::BitCast(tag32, hn::Abs(load(c))), largest);
  }
  return std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(tag32, largest)));
}

/// Loads a vector from column c on of a row of d values; zeros behind the row.
HWY_INLINE Vec<float> load_padded(const float* row, std::size_t c, std::size_t d) {
  const Tag<float> tag;
  if (c + kLanes<float> <= d) return hn::LoadU(tag, row + c);
  float padded[kLanes<float>] = {};
  if (c < d) std::memcpy(padded, row + c, (d - c) * sizeof(float));
  return hn::LoadU(tag, padded);
}

/// The step that a query row of d values is rounded to multiples of: its largest magnitude / kMost16. 0 for a row of
/// zeros, NaN for one that holds an infinity or NaN: so have all its logits.
inline float step_of(const float* row, std::size_t d) {
  const float max = largest_magnitude(d, [&](std::size_t c) HWY_ATTR { return load_padded(row, c, d); });
  if (!(max < kInfinity<float>)) return std::numeric_limits<float>::quiet_NaN();
  const float step = max / kMost16;
  // Rounded up, so that nothing is beyond kMost16 steps.
  return step * kMost16 < max ? std::bit_cast<float>(std::bit_cast<std::uint32_t>(step) + 1) : step;
}

/// Rounds a query row to multiples of its step, which it returns: to nearest, ties to even. to: [d], then zeros up to a
/// multiple of kStep; nothing but zeros if the step is 0 or NaN.
inline float round_row(const float* row, std::size_t d, std::int16_t* HWY_RESTRICT to) {
  const Tag<float> tag;
  const hn::Rebind<std::int16_t, Tag<float>> tag16;
  const float step = step_of(row, d);
  const std::size_t padded = round_up(d, kStep<float>);
  if (!(step > 0)) {
    std::memset(to, 0, padded * sizeof(std::int16_t));
    return step;
  }
  for (std::size_t c = 0; c < padded; c += kLanes<float>) {
    const auto steps = hn::Div(load_padded(row, c, d), hn::Set(tag, step));
    hn::StoreU(hn::DemoteTo(tag16, hn::NearestInt(steps)), tag16, to + c);
  }
  return step;
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_ROUND_INL_H_
