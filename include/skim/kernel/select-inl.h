// SPDX-License-Identifier: Apache-2.0
// The k largest of n values, exactly; and the bookkeeping of what is selected already.
#if defined(SKIM_KERNEL_SELECT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_SELECT_INL_H_
#undef SKIM_KERNEL_SELECT_INL_H_
#else
#define SKIM_KERNEL_SELECT_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "skim/core/selection.h"
#include "skim/core/workspace.h"
#include "skim/kernel/simd-inl.h"

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

/// Two values between which the k-th largest of the n probably lies, read off a sample: low is reached by a few more
/// than k of them, high by a few less (+infinity when a sample cannot tell).
template <class Real>
struct Bracket {
  Real low = -kInfinity<Real>;
  Real high = kInfinity<Real>;
};

/// `sample`: scratch for kSample values.
template <std::size_t kSample, class Real>
Bracket<Real> guess_bracket(const Real* x, std::size_t n, std::size_t k, Real* sample) {
  const std::size_t stride = n / kSample;
  for (std::size_t i = 0; i < kSample; ++i) {
    const std::size_t jitter = (i * 0x9E3779B97F4A7C15u >> 32) % stride;  // periodic data would fool a comb
    sample[i] = x[i * stride + jitter];
  }
  const double share = static_cast<double>(k) / static_cast<double>(n);
  const double expected = share * kSample;
  const double slack = 4 * std::sqrt(expected * (1 - share)) + 1;
  Bracket<Real> bracket;
  Real* end = sample + kSample;
  if (expected + slack < static_cast<double>(kSample)) {
    end = sample + static_cast<std::size_t>(expected + slack);
    std::nth_element(sample, end, sample + kSample, Descending{});
    bracket.low = *end;
  }
  if (expected - slack >= 1) {
    Real* at = sample + static_cast<std::size_t>(expected - slack);
    std::nth_element(sample, at, end, Descending{});
    bracket.high = *at;
  }
  return bracket;
}

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
  }
  for (; i < n; ++i) {
    if (!(x[i] >= threshold)) continue;
    ranks[kept] = i;
    values[kept++] = x[i];
  }
  return kept;
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
#if HWY_TARGET <= HWY_AVX3  // others compress by tables, in functions that want Highway's library at link time
  const Tag<Real> tag;
  const auto low = hn::Set(tag, bracket.low), high = hn::Set(tag, bracket.high);
  for (; i + kLanes<Real> <= n; i += kLanes<Real>) {
    const auto v = hn::LoadU(tag, x + i);
    const auto within = hn::And(hn::Ge(v, low), hn::Le(v, high));
    hn::StoreU(hn::Compress(v, within), tag, values + kept.count);  // no more than i are kept: there is room
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
template <class Real>
Real kth_largest(const Real* x, std::size_t n, std::size_t k, Real* HWY_RESTRICT scratch) {
  constexpr std::size_t kSample = 512;
  if (n >= 2 * kSample) {
    const Between kept = keep_between(x, n, guess_bracket<kSample>(x, n, k, scratch), scratch);
    if (kept.above < k && k <= kept.above + kept.count) {
      Real* at = scratch + (k - kept.above - 1);
      std::nth_element(scratch, at, scratch + kept.count, Descending{});
      return *at;
    }
  }
  std::memcpy(scratch, x, n * sizeof(Real));
  std::nth_element(scratch, scratch + (k - 1), scratch + n, Descending{});
  return scratch[k - 1];
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
    kept = keep_at_least(x, n, guess_bracket<kSample>(x, n, k, scratch).low, ranks, values);
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

// ---- what is selected already ---------------------------------------------------------------------------

/// Calls visit(Span) for each maximal run of positions within `within` that `selection` does not hold
/// yet, ascending. Both lists of the selection are in order.
template <class Visit>
void for_each_gap(const Selection& selection, Span within, const Visit& visit) {
  const auto& spans = selection.spans();
  const auto& picks = selection.picks();
  std::size_t s = 0, p = 0;
  Position at = within.first;
  while (at < within.last) {
    while (s < spans.size() && spans[s].last <= at) ++s;
    while (p < picks.size() && picks[p].position < at) ++p;
    const Position next_span = s < spans.size() ? spans[s].first : within.last;
    const Position next_pick = p < picks.size() ? picks[p].position : within.last;
    const Position end = std::min({next_span, next_pick, within.last});
    if (end > at) visit(Span{at, end});
    if (end >= within.last) return;
    at = end == next_span ? spans[s].last : end + 1;
  }
}

/// Positions within `within` that are not selected yet.
inline Position count_gaps(const Selection& selection, Span within) {
  Position count = 0;
  for_each_gap(selection, within, [&count](Span gap) { count += gap.size(); });
  return count;
}

/// Positions that are selected.
inline Position count_selected(const Selection& selection) {
  auto count = static_cast<Position>(selection.picks().size());
  for (const Span& span : selection.spans()) count += span.size();
  return count;
}

/// Selects all that is left, with weight 1.
inline void add_gaps(Selection& selection, Span within) {
  // The gaps are found before the first one is added: adding moves the list that is walked.
  auto& spare = SelectionAccess::spare_spans(selection);
  spare.clear();
  for_each_gap(selection, within, [&spare](Span gap) { spare.push_back(gap); });
  for (const Span gap : spare) selection.add(gap);
}

/// Turns ascending ranks among the unselected positions into positions: visit(j, position of ranks[j]). `selection` may
/// be added to meanwhile.
template <class Visit>
void for_each_rank(Selection& selection, Span within, const std::size_t* ranks, std::size_t count, const Visit& visit) {
  auto& spare = SelectionAccess::spare_spans(selection);
  spare.clear();
  for_each_gap(selection, within, [&spare](Span gap) { spare.push_back(gap); });
  std::size_t gap = 0;
  std::size_t before = 0;  // positions in the gaps passed
  for (std::size_t j = 0; j < count; ++j) {
    while (ranks[j] - before >= static_cast<std::size_t>(spare[gap].size())) {
      before += static_cast<std::size_t>(spare[gap++].size());
    }
    visit(j, spare[gap].first + static_cast<Position>(ranks[j] - before));
  }
}

/// Adds the positions of these ranks. log_weight(j) belongs to ranks[j].
template <class LogWeight>
void add_ranks(Selection& selection, Span within, const std::size_t* ranks, std::size_t count,
               const LogWeight& log_weight) {
  for_each_rank(selection, within, ranks, count,
                [&](std::size_t j, Position position) { selection.add(position, log_weight(j)); });
}

/// Merges the ascending run [merged, end) of `list` into the ascending run before it, from the back: only the
/// second run is moved away. (To swap the two buffers would let each of them grow at another call.)
template <class T, class Key>
void merge_run(Buffer<T>& list, Buffer<T>& spare, std::size_t& merged, const Key& key) {
  const std::size_t end = list.size();
  if (merged != 0 && merged != end && key(list[merged]) < key(list[merged - 1])) {
    std::size_t a = merged, b = end - merged;
    spare.resize(b);
    std::memcpy(spare.data(), list.data() + merged, b * sizeof(T));
    for (std::size_t out = end; b != 0;) {
      const bool second = a == 0 || key(list[a - 1]) < key(spare[b - 1]);
      list[--out] = second ? spare[--b] : list[--a];
    }
  }
  merged = end;
}

/// Puts what the last stage has appended in order with what was there.
inline void commit(Selection& selection) {
  merge_run(SelectionAccess::spans(selection), SelectionAccess::spare_spans(selection),
            SelectionAccess::merged_spans(selection), [](const Span& s) { return s.first; });
  merge_run(SelectionAccess::picks(selection), SelectionAccess::spare_picks(selection),
            SelectionAccess::merged_picks(selection), [](const Pick& p) { return p.position; });
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_SELECT_INL_H_
