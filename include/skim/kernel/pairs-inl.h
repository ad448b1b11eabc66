// SPDX-License-Identifier: Apache-2.0
// Bytes times numbers of 16 bits, two at a time, and what becomes of the sums. Where there is only one lane there are no
// pairs, and nothing here.
#if defined(SKIM_KERNEL_PAIRS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_PAIRS_INL_H_
#undef SKIM_KERNEL_PAIRS_INL_H_
#else
#define SKIM_KERNEL_PAIRS_INL_H_
#endif

#include "skim/kernel/block-inl.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

#if HWY_TARGET != HWY_SCALAR

// One instruction multiplies pairs and adds them up. Highway 1.0.3 has neither it nor, when targets are chosen at run
// time, the right to use it: so only what the compiler flags promise.
#if HWY_TARGET == HWY_AVX3_DL && defined(__AVX512VNNI__)
#define SKIM_HAVE_DPWSSD 1
#else
#define SKIM_HAVE_DPWSSD 0
#endif

using Tag16 = hn::ScalableTag<std::int16_t>;
using Tag32 = hn::ScalableTag<std::int32_t>;

/// kStep<float> bytes as 16-bit numbers.
HWY_INLINE hn::Vec<Tag16> widen_bytes(const I8* p) {
  const hn::Rebind<std::int8_t, Tag16> d8;
  return hn::PromoteTo(Tag16(), hn::LoadU(d8, reinterpret_cast<const std::int8_t*>(p)));
}

/// The last `count` < kStep<float> bytes of a row, then zeros.
HWY_INLINE hn::Vec<Tag16> widen_tail(const I8* p, std::size_t count) {
  I8 padded[kStep<float>] = {};
  std::memcpy(static_cast<void*>(padded), p, count);
  return widen_bytes(padded);
}

/// One sum of 32 bits for each pair of 16-bit lanes.
class PairSums {
 public:
  HWY_INLINE void clear() { a_ = b_ = hn::Zero(Tag32()); }

  /// Adds x[2i] y[2i] + x[2i + 1] y[2i + 1] to sum i.
  HWY_INLINE void add(hn::Vec<Tag16> x, hn::Vec<Tag16> y) {
#if SKIM_HAVE_DPWSSD
    a_.raw = _mm512_dpwssd_epi32(a_.raw, x.raw, y.raw);
#else
    a_ = hn::ReorderWidenMulAccumulate(Tag32(), x, y, a_, b_);
#endif
  }

  HWY_INLINE hn::Vec<Tag32> get() const {
#if SKIM_HAVE_DPWSSD
    return a_;
#else
    return hn::RearrangeToOddPlusEven(a_, b_);
#endif
  }
  HWY_INLINE Vec<float> as_float() const { return hn::ConvertTo(Tag<float>(), get()); }

 private:
  hn::Vec<Tag32> a_, b_;
};

#undef SKIM_HAVE_DPWSSD

// Whole numbers have the same sum in any order: the trees below need not be alike for canonical bits.

/// The lanes of four vectors: each 128-bit block holds the four sums of that block.
HWY_INLINE hn::Vec<Tag32> sum_blocks4(const PairSums& x0, const PairSums& x1, const PairSums& x2, const PairSums& x3) {
  const Tag32 d;
  const hn::Repartition<std::int64_t, Tag32> d64;
  const auto a = hn::Add(hn::InterleaveLower(d, x0.get(), x1.get()), hn::InterleaveUpper(d, x0.get(), x1.get()));
  const auto b = hn::Add(hn::InterleaveLower(d, x2.get(), x3.get()), hn::InterleaveUpper(d, x2.get(), x3.get()));
  const auto low = hn::InterleaveLower(d64, hn::BitCast(d64, a), hn::BitCast(d64, b));
  const auto high = hn::InterleaveUpper(d64, hn::BitCast(d64, a), hn::BitCast(d64, b));
  return hn::Add(hn::BitCast(d, low), hn::BitCast(d, high));
}

/// Adds up the blocks of x and stores the four sums.
HWY_INLINE void store_sums(hn::Vec<Tag32> x, float* HWY_RESTRICT out) {
  const Tag<float> tag;
  if constexpr (kLanes<float> == 4) {
    hn::StoreU(hn::ConvertTo(tag, x), tag, out);
  } else {
    const hn::Half<Tag32> half;
    const auto folded = hn::Add(hn::LowerHalf(half, x), hn::UpperHalf(half, x));
    if constexpr (kLanes<float> == 8) {
      hn::StoreU(hn::ConvertTo(hn::Half<Tag<float>>(), folded), hn::Half<Tag<float>>(), out);
    } else {
      const hn::Half<hn::Half<Tag32>> quarter;
      const auto sums = hn::Add(hn::LowerHalf(quarter, folded), hn::UpperHalf(quarter, folded));
      hn::StoreU(hn::ConvertTo(hn::Half<hn::Half<Tag<float>>>(), sums), hn::Half<hn::Half<Tag<float>>>(), out);
    }
  }
}

/// The same for two, to out and out + kBlock.
HWY_INLINE void store_sums(hn::Vec<Tag32> x, hn::Vec<Tag32> y, float* HWY_RESTRICT out) {
  if constexpr (kLanes<float> == 4) {
    store_sums(x, out);
    store_sums(y, out + kBlock);
  } else {
    const Tag32 d;
    const hn::Half<Tag<float>> half;
    auto sums = hn::Add(hn::ConcatLowerLower(d, y, x), hn::ConcatUpperUpper(d, y, x));
    if constexpr (kLanes<float> == 16) sums = hn::Add(sums, hn::SwapAdjacentBlocks(sums));
    const auto f = hn::ConvertTo(Tag<float>(), sums);
    if constexpr (kLanes<float> == 8) {
      hn::StoreU(hn::LowerHalf(half, f), half, out);
      hn::StoreU(hn::UpperHalf(half, f), half, out + kBlock);
    } else {
      const hn::Half<hn::Half<Tag<float>>> quarter;
      hn::StoreU(hn::LowerHalf(quarter, hn::LowerHalf(half, f)), quarter, out);
      hn::StoreU(hn::LowerHalf(quarter, hn::UpperHalf(half, f)), quarter, out + kBlock);
    }
  }
}

/// The same for four, to out + i kBlock.
HWY_INLINE void store_sums(const hn::Vec<Tag32> (&x)[4], float* HWY_RESTRICT out) {
  if constexpr (kLanes<float> < 16) {
    store_sums(x[0], x[1], out);
    store_sums(x[2], x[3], out + 2 * kBlock);
  } else {
    const Tag32 d;
    const hn::Half<Tag<float>> half;
    const hn::Half<hn::Half<Tag<float>>> quarter;
    const auto x01 = hn::Add(hn::ConcatLowerLower(d, x[1], x[0]), hn::ConcatUpperUpper(d, x[1], x[0]));
    const auto x23 = hn::Add(hn::ConcatLowerLower(d, x[3], x[2]), hn::ConcatUpperUpper(d, x[3], x[2]));
    // Blocks of x01: 0 0 1 1, of x23: 2 2 3 3, to be added in pairs.
    const auto sums = hn::Add(hn::OddEvenBlocks(x23, x01), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(x01, x23)));
    const auto f = hn::ConvertTo(Tag<float>(), sums);  // 0 2 1 3
    hn::StoreU(hn::LowerHalf(quarter, hn::LowerHalf(half, f)), quarter, out);
    hn::StoreU(hn::UpperHalf(quarter, hn::LowerHalf(half, f)), quarter, out + 2 * kBlock);
    hn::StoreU(hn::LowerHalf(quarter, hn::UpperHalf(half, f)), quarter, out + kBlock);
    hn::StoreU(hn::UpperHalf(quarter, hn::UpperHalf(half, f)), quarter, out + 3 * kBlock);
  }
}

#endif

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_PAIRS_INL_H_
