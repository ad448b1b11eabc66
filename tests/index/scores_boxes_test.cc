// SPDX-License-Identifier: Apache-2.0
// Is the score of a position by boxes the bound of its page, and its exact logit where there is none?
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
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

/// Bits of a number: NaN is equal to itself.
testing::AssertionResult same(float a, float b) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return testing::AssertionSuccess();
  return testing::AssertionFailure() << a << " and " << b;
}

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
        Workspace ws, of_logits;
        const auto kv = pages.kv();
        const auto indexed = with_index(kv, boxes);
        const Asking asking(q, indexed, ws);
        const Scores<float> x = scores(Source::kBoxes, q, indexed, ws);
        EXPECT_EQ(x.heads, 3u);
        EXPECT_EQ(ws.asked.scored_by, Source::kBoxes);
        const Logits<float> s = logits(q, kv, of_logits);
        std::vector<float> high(3 * boxes.pages());
        const BoxQuery of_boxes = box_query<TypeParam>(q, ws);
        box_bounds(of_boxes, boxes, boxes.pages(), [](std::size_t j) { return j; }, ws,
                   [&](std::size_t j, std::size_t count, const float*, const float* upper) {
                     for (std::size_t h = 0; h < 3; ++h) {
                       for (std::size_t t = 0; t < count; ++t) high[h * boxes.pages() + j + t] = upper[h * kBlock + t];
                     }
                   });
        for (std::size_t h = 0; h < 3; ++h) {
          for (Position i = visible.first; i < visible.last; ++i) {
            const auto page_end = static_cast<Position>((page_of(i) + 1) * page_size);
            const bool seen_to_its_end = page_end <= visible.last;
            const bool exact = !seen_to_its_end || page_of(i) == 1 || page_of(i) == 5;
            const float logit = s.of_head(h)[i - visible.first];
            const float expected = exact ? logit : high[h * boxes.pages() + page_of(i)];
            ASSERT_TRUE(same(x.of.of_head(h)[i - visible.first], expected)) << "head " << h << " position " << i;
            ASSERT_TRUE(exact || expected >= logit);
          }
        }
      }
    }
  }
}

// A query that is not finite has no bounds: all its scores are logits.
TEST(BoxScores, OfAQueryThatIsNotFinite) {
  auto p = test::random_problem<BF16>({100, 8, 4, 2}, 1);
  PageBoxes boxes;
  append(boxes, p.kv());
  p.q[8] = kInfinity<float>;
  const Query q = p.query().resolved(100);
  Workspace ws, of_logits;
  const Scores<float> x = scores(Source::kBoxes, q, with_index(p.kv(), boxes), ws);
  const Logits<float> s = logits(q, p.kv(), of_logits);
  for (std::size_t h = 0; h < 2; ++h) {
    for (std::size_t i = 0; i < 100; ++i) EXPECT_TRUE(same(x.of.of_head(h)[i], s.of_head(h)[i]));
  }
  EXPECT_EQ(ws.reads.keys, 100u);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
