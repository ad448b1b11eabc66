// SPDX-License-Identifier: Apache-2.0
// Highway, and the few vector functions every kernel shares: row storage, exp, and the canonical dot
// product.
//
// Like every -inl.h file of skim this is compiled once for each target: statically for the one the
// compiler flags name, or for all of them by a translation unit that uses hwy/foreach_target.h. All
// loops live in an anonymous namespace, so that no two translation units share one.
#if defined(SKIM_KERNEL_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_SIMD_INL_H_
#undef SKIM_KERNEL_SIMD_INL_H_
#else
#define SKIM_KERNEL_SIMD_INL_H_
#endif

#include "skim/core/config.h"  // before Highway

#include <hwy/cache_control.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "skim/core/storage.h"

// A slow target is never silent: a plain `g++ -O2` on x86 would get scalar code, 10 times slower.
#if !defined(HWY_TARGET_INCLUDE) && HWY_ARCH_X86 && HWY_STATIC_TARGET > HWY_AVX2 && \
    !defined(SKIM_ALLOW_SLOW_TARGET)
#error "skim: these compiler flags give no AVX2; add -march=native (or -march=x86-64-v3), or define SKIM_ALLOW_SLOW_TARGET"
#endif

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

template <class Real>
using Tag = hn::ScalableTag<Real>;
template <class Real>
using Vec = hn::Vec<Tag<Real>>;

template <class Real>
constexpr std::size_t kLanes = HWY_LANES(Real);

/// Tiles of accumulators are sized for 16 vector registers, or twice that where there are 32.
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
constexpr int kTile = 2;
#else
constexpr int kTile = 1;
#endif

/// Rows are read in steps of two vectors.
template <class Real>
constexpr std::size_t kStep = 2 * kLanes<Real>;

template <class Real>
constexpr Real kInfinity = std::numeric_limits<Real>::infinity();

constexpr std::size_t round_up(std::size_t n, std::size_t step) { return (n + step - 1) / step * step; }

// ---- storage: how kStep stored values become two vectors --------------------------------------------
// `load` is what kernels do with keys and values; it may permute the values of a step. `split` does the same
// permutation to a row of Real, and `join` undoes it: the query and the accumulated output are kept in
// that order, so that no kernel ever shuffles a key or a value.

template <class Real>
struct InOrder {
  static HWY_INLINE void split(const Real* p, Vec<Real>& a, Vec<Real>& b) {
    const Tag<Real> d;
    a = hn::LoadU(d, p);
    b = hn::LoadU(d, p + kLanes<Real>);
  }
  static HWY_INLINE void join(Vec<Real> a, Vec<Real> b, Real* p) {
    const Tag<Real> d;
    hn::StoreU(a, d, p);
    hn::StoreU(b, d, p + kLanes<Real>);
  }
};

template <class T, class Real>
struct Storage;

template <class Real>
struct Storage<Real, Real> : InOrder<Real> {
  static HWY_INLINE void load(const Real* p, Vec<Real>& a, Vec<Real>& b) {
    const Tag<Real> d;
    a = hn::LoadU(d, p);
    b = hn::LoadU(d, p + kLanes<Real>);
  }
};

template <>
struct Storage<F16, float> : InOrder<float> {
  static HWY_INLINE void load(const F16* p, Vec<float>& a, Vec<float>& b) {
    a = widen(p);
    b = widen(p + kLanes<float>);
  }

 private:
  static HWY_INLINE Vec<float> widen(const F16* p) {
    const Tag<float> d;
    const hn::Rebind<hwy::float16_t, Tag<float>> d16;
    const hn::Rebind<std::uint16_t, Tag<float>> du16;
    const auto bits = hn::LoadU(du16, reinterpret_cast<const std::uint16_t*>(p));
    const auto x = hn::PromoteTo(d, hn::BitCast(d16, bits));
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
    return x;
#else
    // Without an instruction for it, Highway 1.0.3 reads infinity and NaN as one more power of two, 65536 and
    // above. Their mantissa is in place, only the exponent is not.
    const Tag<std::int32_t> di;
    const auto exponent = hn::Set(di, 0x7C00);
    const auto special = hn::RebindMask(d, hn::Eq(hn::And(hn::PromoteTo(di, bits), exponent), exponent));
    return hn::IfThenElse(special, hn::Or(x, hn::BitCast(d, hn::Set(di, 0x7F800000))), x);
#endif
  }
};

// A pair of bf16 values is one 32-bit lane: shift for the even one, mask for the odd one.
template <>
struct Storage<BF16, float> {
  static HWY_INLINE void split(const float* p, Vec<float>& a, Vec<float>& b) {
    hn::LoadInterleaved2(Tag<float>(), p, a, b);
  }
  static HWY_INLINE void join(Vec<float> a, Vec<float> b, float* p) {
    hn::StoreInterleaved2(a, b, Tag<float>(), p);
  }
  static HWY_INLINE void load(const BF16* p, Vec<float>& a, Vec<float>& b) {
    const Tag<float> d;
    const Tag<std::uint16_t> du16;
    const Tag<std::uint32_t> du32;
#if HWY_TARGET == HWY_SCALAR
    a = hn::Set(d, to_float(p[0]));
    b = hn::Set(d, to_float(p[1]));
    (void)du16;
    (void)du32;
#else
    const auto pairs = hn::BitCast(du32, hn::LoadU(du16, reinterpret_cast<const std::uint16_t*>(p)));
    a = hn::BitCast(d, hn::ShiftLeft<16>(pairs));
    b = hn::BitCast(d, hn::And(pairs, hn::Set(du32, 0xFFFF0000u)));
#endif
  }
};

/// Whether rows of T have a scale.
template <class T>
constexpr bool kHasScale = std::is_same_v<T, I8>;

// The bytes, without their scale, in the order in which int8-inl.h adds them up: rows of two keys are interleaved,
// so of each eight values the first four are in one vector and the last four in the other.
template <>
struct Storage<I8, float> {
#if HWY_TARGET == HWY_SCALAR
  static HWY_INLINE void split(const float* p, Vec<float>& a, Vec<float>& b) { InOrder<float>::split(p, a, b); }
  static HWY_INLINE void join(Vec<float> a, Vec<float> b, float* p) { InOrder<float>::join(a, b, p); }
  static HWY_INLINE void load(const I8* p, Vec<float>& a, Vec<float>& b) {
    a = hn::Set(Tag<float>(), static_cast<float>(p[0].byte));
    b = hn::Set(Tag<float>(), static_cast<float>(p[1].byte));
  }
#else
  static HWY_INLINE void split(const float* p, Vec<float>& a, Vec<float>& b) {
    float both[kStep<float>];
    for (std::size_t c = 0; c < kStep<float>; c += 4) std::memcpy(both + lane_of(c), p + c, 4 * sizeof(float));
    InOrder<float>::split(both, a, b);
  }
  static HWY_INLINE void join(Vec<float> a, Vec<float> b, float* p) {
    float both[kStep<float>];
    InOrder<float>::join(a, b, both);
    for (std::size_t c = 0; c < kStep<float>; c += 4) std::memcpy(p + c, both + lane_of(c), 4 * sizeof(float));
  }
  static HWY_INLINE void load(const I8* p, Vec<float>& a, Vec<float>& b) {
    const Tag<float> d;
    const Tag<std::int16_t> d16;
    const Tag<std::int32_t> d32;
    const hn::Rebind<std::int8_t, Tag<std::int16_t>> d8;
    const auto x = hn::PromoteTo(d16, hn::LoadU(d8, reinterpret_cast<const std::int8_t*>(p)));
    // Into the upper halves of 32 bits, and down again with their signs.
    const auto low = hn::InterleaveLower(d16, hn::Zero(d16), x), high = hn::InterleaveUpper(d16, hn::Zero(d16), x);
    a = hn::ConvertTo(d, hn::ShiftRight<16>(hn::BitCast(d32, low)));
    b = hn::ConvertTo(d, hn::ShiftRight<16>(hn::BitCast(d32, high)));
  }

 private:
  /// Where four values from c on are in (a, b): c is a multiple of 4.
  static constexpr std::size_t lane_of(std::size_t c) { return c / 8 * 4 + c / 4 % 2 * kLanes<float>; }
#endif
};

/// The last `count` < kStep values of a row; nothing beyond them is read.
template <class Real, class T>
HWY_INLINE void load_tail(const T* p, std::size_t count, Vec<Real>& a, Vec<Real>& b) {
  T padded[kStep<Real>] = {};
  std::memcpy(static_cast<void*>(padded), p, count * sizeof(T));
  Storage<T, Real>::load(padded, a, b);
}

/// Asks for the cache lines of one step of a row. Rows of 4-byte values would crowd a first-level cache.
template <class Real, class T>
HWY_INLINE void prefetch_step(const T* p) {
  constexpr std::size_t kPerLine = 64 / sizeof(T);
  constexpr int kLevel = sizeof(T) < 4 ? 3 : 2;
  for (std::size_t i = 0; i < kStep<Real>; i += kPerLine) __builtin_prefetch(p + i, 0, kLevel);
}

/// Copies a row of `cols` values into the lane order of T, zeros up to a multiple of kStep.
template <class T, class Real>
void to_lanes(const Real* row, std::size_t cols, Real* HWY_RESTRICT lanes) {
  const Tag<Real> d;
  for (std::size_t c = 0; c < cols; c += kStep<Real>) {
    Vec<Real> a, b;
    if (c + kStep<Real> <= cols) {
      Storage<T, Real>::split(row + c, a, b);
    } else {
      Real padded[kStep<Real>] = {};
      std::memcpy(padded, row + c, (cols - c) * sizeof(Real));
      Storage<T, Real>::split(padded, a, b);
    }
    hn::Store(a, d, lanes + c);
    hn::Store(b, d, lanes + c + kLanes<Real>);
  }
}

/// The reverse, each value times `factor`.
template <class T, class Real>
void from_lanes(const Real* HWY_RESTRICT lanes, std::size_t cols, Real factor, Real* row) {
  const Tag<Real> d;
  const auto f = hn::Set(d, factor);
  for (std::size_t c = 0; c < cols; c += kStep<Real>) {
    const auto a = hn::Mul(hn::Load(d, lanes + c), f);
    const auto b = hn::Mul(hn::Load(d, lanes + c + kLanes<Real>), f);
    if (c + kStep<Real> <= cols) {
      Storage<T, Real>::join(a, b, row + c);
    } else {
      Real padded[kStep<Real>];
      Storage<T, Real>::join(a, b, padded);
      std::memcpy(row + c, padded, (cols - c) * sizeof(Real));
    }
  }
}

/// Whether x[0..n) holds neither infinity nor NaN.
template <class Real>
bool all_finite(const Real* x, std::size_t n) {
  const Tag<Real> tag;
  auto zeros = hn::Zero(tag);  // x - x is 0 for a finite x, NaN otherwise
  std::size_t i = 0;
  for (; i + kLanes<Real> <= n; i += kLanes<Real>) {
    const auto v = hn::LoadU(tag, x + i);
    zeros = hn::Add(zeros, hn::Sub(v, v));
  }
  bool finite = hn::AllTrue(tag, hn::Eq(zeros, hn::Zero(tag)));
  for (; i < n; ++i) finite = finite && x[i] - x[i] == 0;
  return finite;
}

// ---- exp ------------------------------------------------------------------------------------------------

/// e^x for x <= 0: relative error below 4e-7 in float. -inf and below -87 give 0, NaN gives NaN.
HWY_INLINE Vec<float> exp_nonpositive(Vec<float> x) {
  const Tag<float> d;
  const Tag<std::int32_t> di;
  const auto n = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504f)));
  // ln 2 in two parts: the first has few bits, so that n times it is exact.
  auto r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  // e^r = 1 + r q(r), interpolated at the Chebyshev nodes of |r| <= ln(2)/2: error 2.1e-7.
  auto q = hn::Set(d, 0.008363178931176662f);
  q = hn::MulAdd(q, r, hn::Set(d, 0.0418756864964962f));
  q = hn::MulAdd(q, r, hn::Set(d, 0.16666576266288757f));
  q = hn::MulAdd(q, r, hn::Set(d, 0.4999937117099762f));
  q = hn::MulAdd(q, r, hn::Set(d, 1.0f));
  const auto e = hn::MulAdd(q, r, hn::Set(d, 1.0f));
  const auto power = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127))));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.0f)), hn::Mul(e, power));
}

HWY_INLINE Vec<double> exp_nonpositive(Vec<double> x) {
  const Tag<double> d;
  const auto e = hn::Exp(d, hn::Max(x, hn::Set(d, -700.0)));
  const auto finite = hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -700.0)), e);
  return hn::IfThenElse(hn::Eq(x, x), finite, x);
}

// ---- the canonical dot product ------------------------------------------------------------------------
// One accumulator for each (query, key), over the steps of the row in order, then one fixed tree over
// its lanes. Every path that computes a logit goes through `dots`, and the sums of one pair do not depend on
// what else is computed beside it: so a logit has the same bits wherever it is computed.

/// Sums the lanes of acc[0..3] into out[0..3].
template <class Real>
HWY_INLINE void sum_lanes4(Vec<Real> a0, Vec<Real> a1, Vec<Real> a2, Vec<Real> a3, Real* HWY_RESTRICT out) {
  const Tag<Real> d;
#if HWY_TARGET != HWY_SCALAR
  if constexpr (sizeof(Real) == 4 && kLanes<Real> >= 4) {
    const hn::Repartition<double, Tag<Real>> d64;
    const auto s01 = hn::Add(hn::InterleaveLower(d, a0, a1), hn::InterleaveUpper(d, a0, a1));
    const auto s23 = hn::Add(hn::InterleaveLower(d, a2, a3), hn::InterleaveUpper(d, a2, a3));
    const auto low = hn::BitCast(
        d, hn::InterleaveLower(d64, hn::BitCast(d64, s01), hn::BitCast(d64, s23)));
    const auto high = hn::BitCast(
        d, hn::InterleaveUpper(d64, hn::BitCast(d64, s01), hn::BitCast(d64, s23)));
    auto sum = hn::Add(low, high);  // in each 128-bit block the four sums of that block
    if constexpr (kLanes<Real> >= 8) {
      sum = hn::Add(sum, hn::SwapAdjacentBlocks(sum));
    }
    if constexpr (kLanes<Real> >= 16) {
      const hn::Half<Tag<Real>> half;
      const auto folded = hn::Add(hn::LowerHalf(half, sum), hn::UpperHalf(half, sum));
      const hn::Half<hn::Half<Tag<Real>>> quarter;
      hn::StoreU(hn::LowerHalf(quarter, folded), quarter, out);
    } else if constexpr (kLanes<Real> >= 8) {
      const hn::Half<Tag<Real>> half;
      hn::StoreU(hn::LowerHalf(half, sum), half, out);
    } else {
      hn::StoreU(sum, d, out);
    }
    return;
  }
#endif
  out[0] = hn::GetLane(hn::SumOfLanes(d, a0));
  out[1] = hn::GetLane(hn::SumOfLanes(d, a1));
  out[2] = hn::GetLane(hn::SumOfLanes(d, a2));
  out[3] = hn::GetLane(hn::SumOfLanes(d, a3));
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_SIMD_INL_H_
