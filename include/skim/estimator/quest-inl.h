// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_QUEST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_QUEST_INL_H_
#undef SKIM_ESTIMATOR_QUEST_INL_H_
#else
#define SKIM_ESTIMATOR_QUEST_INL_H_
#endif

#include <algorithm>

#include "skim/estimator/quest.h"
#include "skim/estimator/select-inl.h"
#include "skim/index/page_scores-inl.h"
#include "skim/kernel/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// The part of `run` that has its newest `count` unselected positions, all if there are no more.
inline Span newest_of(const Selection& selection, Span run, Position count) {
  Position skip = count_gaps(selection, run) - count;
  Position first = run.first;
  for_each_gap(selection, run, [&](Span gap) {
    if (skip <= 0) return;
    first = gap.first + std::min(skip, gap.size());
    skip -= gap.size();
  });
  return {first, run.last};
}

/// Descending scores, ties to the lower rank.
struct ByScore {
  const float* scores;
  bool operator()(std::size_t a, std::size_t b) const {
    return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
  }
};

/// Ranks of pages in the order of their scores, in the workspace: as many as hold `budget` unselected positions.
struct FirstPages {
  std::size_t* ranks = nullptr;
  std::size_t count = 0;
  Position positions = 0;  // in them

  FirstPages(const PageSet& pages, const Position* left, const float* scores, Position budget, Workspace& ws) {
    auto among = std::min(pages.count, static_cast<std::size_t>((budget + pages.page_size - 1) / pages.page_size));
    for (;;) {
      ranks = largest(scores, pages.count, among, ws).ranks;
      Position sum = 0;
      for (std::size_t j = 0; j < among; ++j) sum += left[ranks[j]];
      if (sum >= budget || among == pages.count) break;
      among = std::min(2 * among, pages.count);  // earlier stages have taken parts of them
    }
    std::sort(ranks, ranks + among, ByScore{scores});
    while (count < among && positions < budget) positions += left[ranks[count++]];
  }
};

/// Selects what is left of ascending, disjoint runs.
inline void add_runs(Selection& selection, const Span* runs, std::size_t count) {
  auto& spare = SelectionAccess::spare_spans(selection);
  spare.clear();
  std::size_t r = 0;
  for_each_gap(selection, {runs[0].first, runs[count - 1].last}, [&](Span gap) {
    for (; r < count && runs[r].first < gap.last; ++r) {
      const Span part = intersect(runs[r], gap);
      if (part.size() > 0) spare.push_back(part);
      if (runs[r].last > gap.last) break;
    }
  });
  for (const Span part : spare) selection.add(part);
}

template <>
struct Select<Quest> {
  template <class Real, class Kv>
  static void run(const Quest& e, const BasicQuery<Real>& q, const Kv& kv, Selection& selection, Workspace& ws) {
    with_carried<PageBoxes>(kv, [&](const PageBoxes& boxes) {
      if constexpr (std::is_same_v<Real, float>) run(e, boxes, q, plain(kv), selection, ws);
    });
  }

 private:
  template <class Kv>
  static void run(const Quest& e, const PageBoxes& boxes, const BasicQuery<float>& q, const Kv& kv,
                  Selection& selection, Workspace& ws) {
    const auto budget = static_cast<Position>(e.budget.count(q.visible.size()));
    if (budget == 0) return;
    if (budget >= count_gaps(selection, q.visible)) return add_gaps(selection, q.visible);
    const auto size = static_cast<Position>(boxes.page_size());
    const Position end = q.visible.last / size * size;  // of the pages that the query sees to their end
    const Span newest{std::max(end, q.visible.first), q.visible.last};
    const Position of_newest = count_gaps(selection, newest);
    if (of_newest >= budget) return add_gaps(selection, newest_of(selection, newest, budget));

    const PageSet pages = pages_of(boxes, {q.visible.first, end});
    Position* left = ws.get<Position>(Workspace::kCandidates, pages.count);
    count_left(pages, selection, q.visible, left);
    float* scores = ws.get<float>(Workspace::kProposal, round_up(pages.count, kBlock));
    page_scores(q, kv, boxes, pages, scores, ws);
    for (std::size_t rank = 0; rank < pages.count; ++rank) {
      if (left[rank] == 0) scores[rank] = -kInfinity<float>;
    }
    const Position of_pages = budget - of_newest;
    const FirstPages first(pages, left, scores, of_pages, ws);
    const std::size_t last = first.ranks[first.count - 1];
    const Position over = first.positions - of_pages;
    const Span cut = newest_of(selection, intersect(pages.span(last), q.visible), left[last] - over);
    std::sort(first.ranks, first.ranks + first.count, Ascending{});

    Span* runs = ws.get<Span>(Workspace::kChosen, first.count + 1);
    std::size_t count = 0;
    const auto add = [&](Span run) {
      if (count != 0 && runs[count - 1].last == run.first) {
        runs[count - 1].last = run.last;
      } else if (run.size() > 0) {
        runs[count++] = run;
      }
    };
    for (std::size_t j = 0; j < first.count; ++j) {
      add(first.ranks[j] == last ? cut : intersect(pages.span(first.ranks[j]), q.visible));
    }
    add(newest);
    add_runs(selection, runs, count);
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_QUEST_INL_H_
