// SPDX-License-Identifier: Apache-2.0
// The k largest of n values, exactly.
#if defined(SKIM_KERNEL_SELECT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_SELECT_INL_H_
#undef SKIM_KERNEL_SELECT_INL_H_
#else
#define SKIM_KERNEL_SELECT_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "skim/core/workspace.h"
#include "skim/kernel/gaps-inl.h"
#include "skim/kernel/simd-inl.h"

// Whether a vector's kept lanes can be moved together by one instruction. (Others do it by tables, in functions that want
// Highway's library at link time.)
#undef SKIM_COMPRESSES
#define SKIM_COMPRESSES (HWY_TARGET <= HWY_AVX3)

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Ranks of the k largest values, ascending. Ties go to the lower rank.
template <class Real>
struct Largest {
  std::size_t* ranks = nullptr;  ///< in the workspace; may be edited
  std::size_t count = 0;
  Real least = 0;              ///< the smallest of the k values
  std::size_t least_rank = 0;  ///< the highest rank that has it: the last of the k in order
};

/// Orders of our own, so that no other translation unit shares the instances of std::nth_element and sort.
struct Descending {
  template <class Real>
  bool operator()(Real a, Real b) const {
    return a > b;
  }
};
struct Ascending {
  template <class Real>
  bool operator()(Real a, Real b) const {
    return a < b;
  }
};

#if SKIM_COMPRESSES

/// The ranks of the lanes that a mask of floats keeps, the first lane's being `first`. A whole vector's worth is written.
HWY_INLINE void store_kept(hn::Mask<Tag<float>> mask, std::size_t first, std::size_t* ranks) {
  static_assert(sizeof(std::size_t) == sizeof(std::uint64_t));
  const Tag<std::uint32_t> d32;
  const Tag<std::uint64_t> d64;
  const auto lanes = hn::Compress(hn::Iota(d32, 0), hn::RebindMask(d32, mask));
  auto* to = reinterpret_cast<std::uint64_t*>(ranks);
  const auto from = hn::Set(d64, first);
  hn::StoreU(hn::Add(hn::PromoteTo(d64, hn::LowerHalf(lanes)), from), d64, to);
  hn::StoreU(hn::Add(hn::PromoteTo(d64, hn::UpperHalf(hn::Half<Tag<std::uint32_t>>(), lanes)), from), d64, to + kLanes<float> / 2);
}

HWY_INLINE void store_kept(hn::Mask<Tag<double>> mask, std::size_t first, std::size_t* ranks) {
  const Tag<std::uint64_t> d64;
  const auto lanes = hn::Compress(hn::Iota(d64, 0), hn::RebindMask(d64, mask));
  hn::StoreU(hn::Add(lanes, hn::Set(d64, first)), d64, reinterpret_cast<std::uint64_t*>(ranks));
}

#endif

/// Appends the ranks and values with x >= threshold; returns how many. Both arrays hold n.
template <class Real>
std::size_t keep_at_least(const Real* HWY_RESTRICT x, std::size_t n, Real threshold, std::size_t* HWY_RESTRICT ranks,
                          Real* HWY_RESTRICT values) {
  const Tag<Real> tag;
  constexpr std::size_t kN = kLanes<Real>;
  constexpr std::size_t kBytes = (kN + 7) / 8;  // of a mask's bits
  static_assert(4 * kBytes <= 8);
  const auto limit = hn::Set(tag, threshold);
  std::size_t kept = 0;
  std::size_t i = 0;
  for (; i + 4 * kN <= n; i += 4 * kN) {
    const auto m0 = hn::Ge(hn::LoadU(tag, x + i), limit);
    const auto m1 = hn::Ge(hn::LoadU(tag, x + i + kN), limit);
    const auto m2 = hn::Ge(hn::LoadU(tag, x + i + 2 * kN), limit);
    const auto m3 = hn::Ge(hn::LoadU(tag, x + i + 3 * kN), limit);
    if (hn::AllFalse(tag, hn::Or(hn::Or(m0, m1), hn::Or(m2, m3)))) continue;
#if SKIM_COMPRESSES
    const auto keep = [&](hn::Mask<Tag<Real>> mask, std::size_t first) HWY_ATTR {
      // Whole vectors are written: no more than `first` are kept, so there is room.
      hn::StoreU(hn::Compress(hn::LoadU(tag, x + first), mask), tag, values + kept);
      store_kept(mask, first, ranks + kept);
      kept += hn::CountTrue(tag, mask);
    };
    keep(m0, i);
    keep(m1, i + kN);
    keep(m2, i + 2 * kN);
    keep(m3, i + 3 * kN);
#else
    // All masks into one word: to read each back would wait for each store.
    alignas(8) std::uint8_t bytes[8 + 8] = {};  // a store may write up to 8 bytes
    hn::StoreMaskBits(tag, m0, bytes);
    hn::StoreMaskBits(tag, m1, bytes + kBytes);
    hn::StoreMaskBits(tag, m2, bytes + 2 * kBytes);
    hn::StoreMaskBits(tag, m3, bytes + 3 * kBytes);
    std::uint64_t bits;
    std::memcpy(&bits, bytes, sizeof(bits));
    for (; bits != 0; bits &= bits - 1) {
      const auto bit = static_cast<std::size_t>(hwy::Num0BitsBelowLS1Bit_Nonzero64(bits));
      const std::size_t rank = i + bit / (8 * kBytes) * kN + bit % (8 * kBytes);
      ranks[kept] = rank;
      values[kept++] = x[rank];
    }
#endif
  }
  for (; i < n; ++i) {
    if (!(x[i] >= threshold)) continue;
    ranks[kept] = i;
    values[kept++] = x[i];
  }
  return kept;
}

/// How many of x[0..n) are no less than the threshold.
template <class Real>
std::size_t count_at_least(const Real* x, std::size_t n, Real threshold) {
  const Tag<Real> tag;
  const auto limit = hn::Set(tag, threshold);
  std::size_t count = 0, i = 0;
  for (; i + kLanes<Real> <= n; i += kLanes<Real>) count += hn::CountTrue(tag, hn::Ge(hn::LoadU(tag, x + i), limit));
  for (; i < n; ++i) count += x[i] >= threshold ? 1u : 0u;
  return count;
}

/// Two values, and those between.
template <class Real>
struct Bracket {
  Real low = 0;
  Real high = 0;
};

/// The least and the largest of x[0..n), n > 0.
template <class Real>
Bracket<Real> extremes(const Real* x, std::size_t n) {
  const Tag<Real> tag;
  Bracket<Real> all{x[0], x[0]};
  std::size_t i = 0;
  if (n >= kLanes<Real>) {
    auto low = hn::LoadU(tag, x), high = low;
    for (; i + kLanes<Real> <= n; i += kLanes<Real>) {
      const auto v = hn::LoadU(tag, x + i);
      low = hn::Min(low, v);
      high = hn::Max(high, v);
    }
    all = {hn::GetLane(hn::MinOfLanes(tag, low)), hn::GetLane(hn::MaxOfLanes(tag, high))};
  }
  for (; i < n; ++i) {
    all.low = x[i] < all.low ? x[i] : all.low;
    all.high = x[i] > all.high ? x[i] : all.high;
  }
  return all;
}

/// A value between the two: their mean, if that is wanted and not one of them, or the one that has as many floating-point
/// numbers below it as above. low when there is none between.
template <class Real>
Real middle(const Bracket<Real>& b, bool mean) {
  const Real half = b.low / 2 + b.high / 2;
  if (mean && half > b.low && half < b.high) return half;
  using Int = std::conditional_t<sizeof(Real) == 4, std::int32_t, std::int64_t>;
  using Unsigned = std::make_unsigned_t<Int>;
  constexpr Int kLeast = std::numeric_limits<Int>::min();
  const auto turned = [](Int bits) { return bits < 0 ? static_cast<Int>(kLeast - bits) : bits; };  // as the values are ordered
  Int low, high;
  std::memcpy(&low, &b.low, sizeof(low));
  std::memcpy(&high, &b.high, sizeof(high));
  low = turned(low);
  const auto apart = static_cast<Unsigned>(turned(high)) - static_cast<Unsigned>(low);
  const Int at = turned(static_cast<Int>(static_cast<Unsigned>(low) + apart / 2));
  Real value;
  std::memcpy(&value, &at, sizeof(value));
  return value;
}

/// How many values lie within a bracket, and how many above.
struct Between {
  std::size_t count = 0;
  std::size_t above = 0;
};

/// Copies the values that lie within the bracket. `values` holds n.
template <class Real>
Between keep_between(const Real* HWY_RESTRICT x, std::size_t n, const Bracket<Real>& bracket, Real* HWY_RESTRICT values) {
  Between kept;
  std::size_t i = 0;
#if SKIM_COMPRESSES
  const Tag<Real> tag;
  const auto low = hn::Set(tag, bracket.low), high = hn::Set(tag, bracket.high);
  for (; i + kLanes<Real> <= n; i += kLanes<Real>) {
    const auto v = hn::LoadU(tag, x + i);
    const auto within = hn::And(hn::Ge(v, low), hn::Le(v, high));
    hn::StoreU(hn::Compress(v, within), tag, values + kept.count);
    kept.count += hn::CountTrue(tag, within);
    kept.above += hn::CountTrue(tag, hn::Gt(v, high));
  }
#endif
  for (; i < n; ++i) {
    values[kept.count] = x[i];
    kept.count += x[i] >= bracket.low && x[i] <= bracket.high ? 1u : 0u;
    kept.above += x[i] > bracket.high ? 1u : 0u;
  }
  return kept;
}

/// The k-th largest of x[0..n), 0 < k <= n, without NaN. `scratch`: n values.
///
/// Bisection until few values are left: each step counts what is no less than a value in the middle, without a branch
/// that depends on the data, which std::nth_element mispredicts at every other value. The mean of the bounds comes close
/// soon, unless values are spread over many orders of magnitude or equal.
template <class Real>
Real kth_largest(const Real* x, std::size_t n, std::size_t k, Real* HWY_RESTRICT scratch) {
  constexpr std::size_t kFew = 256;
  constexpr int kByMean = 12;
  if (n <= kFew) {
    std::memcpy(scratch, x, n * sizeof(Real));
    std::nth_element(scratch, scratch + (k - 1), scratch + n, Descending{});
    return scratch[k - 1];
  }
  Bracket<Real> bracket = extremes(x, n);
  std::size_t from_low = n, from_high = 0;  // so many values are no less than the bound: at least k, and fewer
  for (int step = 0; from_low - from_high > kFew; ++step) {
    const Real value = middle(bracket, step < kByMean);
    if (!(value > bracket.low)) break;
    const std::size_t count = count_at_least(x, n, value);
    if (count >= k) {
      bracket.low = value;
      from_low = count;
    } else {
      bracket.high = value;
      from_high = count;
    }
  }
  const Between kept = keep_between(x, n, bracket, scratch);
  Real* at = scratch + (k - kept.above - 1);
  std::nth_element(scratch, at, scratch + kept.count, Descending{});
  return *at;
}

/// A threshold that a few more than the k largest of the n reach, probably: read off a sample. -infinity when a sample
/// cannot tell. `scratch`: 2 kSample values.
template <std::size_t kSample, class Real>
Real guess_threshold(const Real* x, std::size_t n, std::size_t k, Real* scratch) {
  const std::size_t stride = n / kSample;
  for (std::size_t i = 0; i < kSample; ++i) {
    const std::size_t jitter = (i * 0x9E3779B97F4A7C15u >> 32) % stride;  // periodic data would fool a comb
    scratch[i] = x[i * stride + jitter];
  }
  const double share = static_cast<double>(k) / static_cast<double>(n);
  const double expected = share * kSample;
  const double rank = expected + 4 * std::sqrt(expected * (1 - share)) + 2;
  if (!(rank < static_cast<double>(kSample))) return -kInfinity<Real>;
  return kth_largest(scratch, kSample, static_cast<std::size_t>(rank), scratch + kSample);
}

/// The k largest of x[0..n), 0 < k <= n, without NaN. Where few of many are wanted, a threshold guessed from a sample
/// leaves few survivors for the exact selection; should it leave fewer than k, the exact selection sees all.
template <class Real>
Largest<Real> largest(const Real* x, std::size_t n, std::size_t k, Workspace& ws) {
  constexpr std::size_t kSample = 2048;
  std::size_t* ranks = ws.get<std::size_t>(Workspace::kRanks, n);
  Real* values = ws.get<Real>(Workspace::kSurvivors, 2 * n);
  Real* scratch = values + n;
  Largest<Real> result{ranks, 0, 0, 0};
  std::size_t kept = 0;
  if (n >= 4 * kSample && k <= n / 8) {
    kept = keep_at_least(x, n, guess_threshold<kSample>(x, n, k, scratch), ranks, values);
    if (kept >= k) result.least = kth_largest(values, kept, k, scratch);
  }
  if (kept < k) {
    result.least = kth_largest(x, n, k, scratch);
    kept = keep_at_least(x, n, result.least, ranks, values);
  }
  std::size_t greater = 0;
  for (std::size_t i = 0; i < kept; ++i) greater += values[i] > result.least ? 1u : 0u;
  std::size_t ties = k - greater;  // of those equal to the least, the ones with the lowest rank
  for (std::size_t i = 0; i < kept; ++i) {
    std::size_t keep = values[i] > result.least ? 1u : 0u;
    if (values[i] == result.least && ties > 0) {
      --ties;
      result.least_rank = ranks[i];
      keep = 1;
    }
    ranks[result.count] = ranks[i];
    result.count += keep;
  }
  return result;
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_SELECT_INL_H_
