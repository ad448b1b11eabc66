// SPDX-License-Identifier: Apache-2.0
// What is selected already, and what is left between.
#if defined(SKIM_KERNEL_GAPS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_GAPS_INL_H_
#undef SKIM_KERNEL_GAPS_INL_H_
#else
#define SKIM_KERNEL_GAPS_INL_H_
#endif

#include <algorithm>
#include <cstring>

#include "skim/core/selection.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

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

/// Selects, with weight 1, what is left of the positions for which wanted(position) is true.
template <class Wanted>
void add_gaps(Selection& selection, Span within, const Wanted& wanted) {
  auto& spare = SelectionAccess::spare_spans(selection);
  spare.clear();
  for_each_gap(selection, within, [&](Span gap) {
    for (Position at = gap.first; at < gap.last; ++at) {
      const Position first = at;
      while (at < gap.last && wanted(at)) ++at;
      if (at > first) spare.push_back({first, at});
    }
  });
  for (const Span run : spare) selection.add(run);
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

#endif  // SKIM_KERNEL_GAPS_INL_H_
