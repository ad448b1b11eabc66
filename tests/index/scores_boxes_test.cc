// SPDX-License-Identifier: Apache-2.0
// Is the score of a position by boxes between the bounds of its page, and that of none where there are none?
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "skim/index/scores-inl.h"
#include "support/layouts.h"
#include "support/problem.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

using test::Problem;

constexpr float kHalf[] = {0.01f, -0.02f, 0.0f};

template <class K>
class BoxScoresOf : public testing::Test {};
using StorageTypes = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(BoxScoresOf, StorageTypes);

TYPED_TEST(BoxScoresOf, AreTheBoundsOfPages) {
  for (const std::size_t page_size : {16u, 23u, 40u}) {
    auto p = test::random_problem<TypeParam>({page_size * 9 + 11, 20, 4, 3}, page_size);
    const auto n = static_cast<Position>(p.shape.n);
    const auto page_of = [&](Position i) { return static_cast<std::size_t>(i) / page_size; };
    test::fill_row(test::row_at(p.keys, page_size + 3, 20), 20, test::kNan);
    test::fill_row(test::row_at(p.keys, 5 * page_size, 20), 20, test::kInf);
    PageBoxes boxes(page_size);
    append(boxes, p.kv());
    const test::InPages<TypeParam, TypeParam> pages(p, 9, test::Adjacency::kApart);
    for (const Span visible : {Span{0, n}, Span{5, n - 14}, Span{70, 78}, Span{0, n - 40}, Span{17, 18}}) {
      for (const float* slopes : {static_cast<const float*>(nullptr), kHalf}) {
        Query query = p.query();
        query.visible = visible;
        query.logit.alibi_slopes = slopes;
        const Query q = query.resolved(n);
        Workspace ws;
        const auto kv = pages.kv();
        const auto indexed = with_index(kv, boxes);
        const Asking asking(q, indexed, ws);
        const Scores<float> x = scores(Source::kBoxes, q, indexed, ws);
        EXPECT_EQ(x.heads, 3u);
        EXPECT_EQ(ws.asked.scored_by, Source::kBoxes);
        std::vector<float> likely(3 * boxes.pages());
        const BoxQuery of_boxes = box_query<TypeParam>(q, ws);
        box_bounds(of_boxes, boxes, boxes.pages(), [](std::size_t j) { return j; }, ws,
                   [&](std::size_t j, std::size_t count, const float* lower, const float* upper) {
                     for (std::size_t h = 0; h < 3; ++h) {
                       for (std::size_t t = 0; t < count; ++t) {
                         const float half = (upper[h * kBlock + t] - lower[h * kBlock + t]) / 2;
                         likely[h * boxes.pages() + j + t] = upper[h * kBlock + t] - half * (1 - 1 / std::sqrt(20.0f));
                       }
                     }
                   });
        for (std::size_t h = 0; h < 3; ++h) {
          for (Position i = visible.first; i < visible.last; ++i) {
            const auto page_end = static_cast<Position>((page_of(i) + 1) * page_size);
            const bool seen_to_its_end = page_end <= visible.last;
            const bool covered = seen_to_its_end && page_of(i) != 1 && page_of(i) != 5;
            const float score = x.of.of_head(h)[i - visible.first];
            if (covered) {
              ASSERT_NEAR(score, likely[h * boxes.pages() + page_of(i)], 1e-5) << "head " << h << " position " << i;
            } else {
              ASSERT_EQ(score, kNotCovered) << "head " << h << " position " << i;
            }
          }
        }
      }
    }
  }
}

// A query that is not finite has no bounds: no page is covered, and no key is read to say so.
TEST(BoxScores, OfAQueryThatIsNotFinite) {
  auto p = test::random_problem<BF16>({100, 8, 4, 2}, 1);
  PageBoxes boxes;
  append(boxes, p.kv());
  p.q[8] = kInfinity<float>;
  const Query q = p.query().resolved(100);
  Workspace ws;
  const Scores<float> x = scores(Source::kBoxes, q, with_index(p.kv(), boxes), ws);
  for (std::size_t i = 0; i < 100; ++i) {
    EXPECT_EQ(std::max(x.of.of_head(0)[i], x.of.of_head(1)[i]), kNotCovered);
  }
  EXPECT_EQ(ws.reads.keys, 0u);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
