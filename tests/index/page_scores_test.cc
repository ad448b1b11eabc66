// SPDX-License-Identifier: Apache-2.0
// Is a page's score its pooled bound, or its largest pooled logit where it has none?
#include "skim/index/page_scores-inl.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "support/problem.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

TEST(PageScores, AreTheLargestBoundOfTheirPositions) {
  for (const std::size_t page_size : {16u, 27u}) {
    auto p = test::random_problem<BF16>({page_size * 20 + 3, 12, 4, 3}, page_size);
    test::fill_row(test::row_at(p.keys, page_size * 3 + 1, 12), 12, test::kNan);
    for (std::size_t i = page_size * 7; i < page_size * 8; ++i) {
      test::fill_row(test::row_at(p.keys, i, 12), 12, test::kNan);
    }
    PageBoxes boxes(page_size);
    append(boxes, p.kv());
    for (const Position first : {Position{0}, static_cast<Position>(3 * page_size + 1)}) {
      Query query = p.query();
      query.visible.first = first;
      const Query q = query.resolved(static_cast<Position>(p.shape.n));
      const PageSet pages = pages_of(boxes, q.visible);
      std::vector<float> all(round_up(pages.count, kBlock));
      Workspace ws;
      page_scores(q, p.kv(), boxes, pages, all.data(), ws);
      std::vector<float> bounds(boxes.pages(), -kInfinity<float>);
      box_bounds(box_query<BF16>(q, ws), boxes, boxes.pages(), [](std::size_t page) { return page; }, ws,
                 [&](std::size_t page, std::size_t count, const float*, const float* high) {
                   for (std::size_t i = 0; i < 3 * count; ++i) {
                     float& bound = bounds[page + i % count];
                     bound = std::max(bound, high[i / count * kBlock + i % count]);
                   }
                 });
      const Logits<float> s = logits(q, p.kv(), ws);
      for (std::size_t rank = 0; rank < pages.count; ++rank) {
        float largest = -kInfinity<float>;
        const Span span = intersect(pages.span(rank), q.visible);
        for (std::size_t h = 0; h < 3; ++h) {
          for (Position i = span.first; i < span.last; ++i) {
            const float x = s.of_head(h)[i - q.visible.first];
            if (x > largest) largest = x;
          }
        }
        if (bounds[pages.page(rank)] < kInfinity<float>) largest = bounds[pages.page(rank)];
        EXPECT_EQ(all[rank], largest) << "page " << pages.page(rank);
        EXPECT_EQ(largest == -kInfinity<float>, pages.page(rank) == 7);
      }
    }
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
