// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_SUMMARIES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_SUMMARIES_INL_H_
#undef SKIM_ESTIMATOR_SUMMARIES_INL_H_
#else
#define SKIM_ESTIMATOR_SUMMARIES_INL_H_
#endif

#include <cmath>

#include "skim/estimator/select-inl.h"
#include "skim/estimator/summaries.h"
#include "skim/index/means-inl.h"
#include "skim/index/scores-inl.h"
#include "skim/kernel/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// What is left of `visible`, as summaries and positions to read.
inline void summarise(const PageMeans& means, Span visible, Selection& selection) {
  const auto page_size = static_cast<Position>(means.page());
  const Span whole = means.whole_pages(visible);
  const auto& left_out = means.left_out();
  const Position* next_left_out = std::lower_bound(left_out.begin(), left_out.end(), visible.first);

  // Of the page at hand: how many of its positions are left, and one of them.
  Position page = -1, count = 0, one = 0;
  const auto close = [&] {
    // As a pick, because spans may have passed it.
    if (count == 1) selection.add(one);
    if (count > 1) selection.add_summary(page, std::log(static_cast<double>(count)));
    count = 0;
  };
  // The gaps are found before the first one is added: adding moves the list that is walked.
  auto& gaps = SelectionAccess::spare_spans(selection);
  gaps.clear();
  for_each_gap(selection, visible, [&gaps](Span gap) { gaps.push_back(gap); });
  for (const Span gap : gaps) {
    selection.add(intersect(gap, {visible.first, whole.first}));
    const Span inner = intersect(gap, whole);
    for (Position at = inner.first; at < inner.last;) {
      if (at / page_size != page) {
        close();
        page = at / page_size;
      }
      while (next_left_out != left_out.end() && *next_left_out < at) ++next_left_out;
      const Position odd = next_left_out == left_out.end() ? inner.last : *next_left_out;
      if (odd == at) {
        selection.add(Span{at, at + 1});
        ++at;
        continue;
      }
      const Position end = std::min({inner.last, (page + 1) * page_size, odd});
      count += end - at;
      one = at;
      at = end;
    }
    selection.add(intersect(gap, {whole.last, visible.last}));
  }
  close();
}

template <>
struct Select<Summaries> {
  template <class Real, class Kv>
  static void run(const Summaries&, const BasicQuery<Real>& q, const Kv& kv, Selection& selection, Workspace&) {
    with_carried<PageMeans>(kv, [&](const PageMeans& means) { summarise(means, q.visible, selection); });
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_SUMMARIES_INL_H_
