// SPDX-License-Identifier: Apache-2.0
// One score a page: what pages are ranked by.
#if defined(SKIM_INDEX_PAGE_SCORES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_PAGE_SCORES_INL_H_
#undef SKIM_INDEX_PAGE_SCORES_INL_H_
#else
#define SKIM_INDEX_PAGE_SCORES_INL_H_
#endif

#include <algorithm>

#include "skim/index/box_bounds-inl.h"
#include "skim/index/scores-inl.h"
#include "skim/index/visible_pages-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// The largest pooled logit of a run; -infinity if there is none but NaN.
template <class Kv>
float largest_logit(const LaneQuery<float>& lanes, const Kv& kv, Span run, Workspace& ws) {
  const std::size_t heads = lanes.query->heads();
  float largest = -kInfinity<float>;
  float* s = ws.get<float>(Workspace::kBounds, (heads + 1) * kBlock);
  float* pooled = s + heads * kBlock;
  for (Position first = run.first; first < run.last; first += static_cast<Position>(kBlock)) {
    const Span part{first, std::min(run.last, first + static_cast<Position>(kBlock))};
    score_run(lanes, kv, part, s, kBlock, ws);
    const auto count = static_cast<std::size_t>(part.size());
    max_of_heads(s, kBlock, heads, count, pooled);
    for (std::size_t t = 0; t < count; ++t) largest = std::max(largest, pooled[t]);
  }
  return largest;
}

/// The pooled upper bound of each page, or the largest pooled logit of what is visible of it where there is no bound.
/// scores: [pages.count], rounded up to a multiple of kBlock.
template <class Kv>
void page_scores(const BasicQuery<float>& q, const Kv& kv, const PageBoxes& boxes, const PageSet& pages, float* scores,
                 Workspace& ws) {
  const BoxQuery of_boxes = box_query<typename Kv::Key>(q, ws);
  box_bounds(of_boxes, boxes, pages.count, [&](std::size_t rank) { return pages.page(rank); }, ws,
             [&](std::size_t rank, std::size_t, const float*, const float* high) {
               max_of_heads(high, kBlock, q.heads(), kBlock, scores + rank);
             });
  const LaneQuery<float> lanes = lane_query<typename Kv::Key>(q, ws);
  for (std::size_t rank = 0; rank < pages.count; ++rank) {
    if (scores[rank] < kInfinity<float>) continue;
    scores[rank] = largest_logit(lanes, kv, intersect(pages.span(rank), q.visible), ws);
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_PAGE_SCORES_INL_H_
