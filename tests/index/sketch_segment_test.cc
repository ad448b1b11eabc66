// SPDX-License-Identifier: Apache-2.0
// Is everything the same with segments of another length: bits after any history, what a scan says, bounds?
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "support/indexes.h"

namespace skim::test {
namespace {

constexpr std::size_t kSegments[] = {64, 128, 320, 512};

template <class S>
struct SegmentsOf : testing::Test {};
using AllSketches = testing::Types<Sketch1, Sketch4, Sketch8>;
TYPED_TEST_SUITE(SegmentsOf, AllSketches);

template <class S, class Kv>
S grown(std::size_t segment, const Kv& kv) {
  S sketch(segment);
  append(sketch, kv);
  return sketch;
}

TYPED_TEST(SegmentsOf, OneByOneIsInBulkIsAfterATruncate) {
  for (const std::size_t segment : kSegments) {
    auto p = random_problem<BF16>({1100, 24, 1, 1}, segment);
    for (const std::size_t i : {63u, 64u, 320u, 1000u}) p.keys[i * 24] = from_float<BF16>(NAN);
    const TypeParam bulk = grown<TypeParam>(segment, p.kv());
    EXPECT_EQ(bulk.segment(), segment);
    EXPECT_EQ(bulk.segments(), 1100 / segment);
    EXPECT_EQ(bulk.sketched(), static_cast<Position>(1100 / segment * segment));
    TypeParam one_by_one(segment);
    auto kv = p.kv();
    for (std::size_t n = 1; n <= 1100; ++n) {
      kv.keys.rows = kv.values.rows = n;
      append(one_by_one, kv);
    }
    EXPECT_TRUE(same_sketch(one_by_one, bulk));
    for (const std::size_t n : {1099u, 1024u, 640u, 639u, 511u, 64u, 63u, 0u}) {
      truncate(one_by_one, p.kv(), static_cast<Position>(n));
      kv.keys.rows = kv.values.rows = n;
      EXPECT_TRUE(same_sketch(one_by_one, grown<TypeParam>(segment, kv))) << segment << ", cut to " << n;
      append(one_by_one, p.kv());
      EXPECT_TRUE(same_sketch(one_by_one, bulk)) << segment << ", cut to " << n;
    }
  }
}

// Each segment is told relative to its own centre: keys that jump from segment to segment are scored none the worse.
TYPED_TEST(SegmentsOf, ScoresFollowTheCentresOfTheSegments) {
  constexpr std::size_t n = 1400, d = 64;
  for (const std::size_t segment : kSegments) {
    auto p = random_problem<float>({n, d, 1, 2}, segment);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t c = 0; c < d; ++c) p.keys[i * d + c] += (i / segment % 2 == 0 ? 8.0f : -8.0f) * (c % 3 == 0 ? 1.0f : 0.0f);
    }
    const TypeParam sketch = grown<TypeParam>(segment, p.kv());
    Workspace ws, other;
    const Query q = p.query().resolved(n);
    const auto scores = HWY_NAMESPACE::scores(TypeParam::kSource, q, with_index(p.kv(), sketch), ws);
    const auto exact = logits(q, p.kv(), other);
    double squares = 0;
    for (std::size_t h = 0; h < 2; ++h) {
      for (std::size_t i = 0; i < n; ++i) {
        const double off = double{scores.of.of_head(h)[i]} - double{exact.of_head(h)[i]};
        if (i >= n / segment * segment) {
          EXPECT_EQ(off, 0) << "in no segment";
        }
        squares += off * off / (2 * n);
      }
    }
    // Without the jumps logits have a deviation of 1.5, with them one of some 15.
    const double most = TypeParam::kSource == Source::kSketch8 ? 0.03 : TypeParam::kSource == Source::kSketch4 ? 0.4 : 1.6;
    EXPECT_LT(std::sqrt(squares), most) << segment;
  }
}

TEST(SketchSegment, TopKByBoundsIsTopK) {
  for (const std::size_t segment : kSegments) {
    for (const std::size_t n : {700u, 9000u}) {
      const auto p = random_problem<BF16>({n, 32, 1, 2}, segment + n);
      const Sketch8 sketch = grown<Sketch8>(segment, p.kv());
      for (const Position first : {0, 77}) {
        Query q = p.query();
        q.visible.first = first;
        const Selection by_keys = select(TopK{60}, q, p.kv());
        const Selection by_bounds =
            select(TopK{.budget = 60, .by = Source::kSketch8, .exact = true}, q, with_index(p.kv(), sketch));
        ASSERT_EQ(by_bounds.picks().size(), 60u);
        for (std::size_t j = 0; j < 60; ++j) EXPECT_EQ(by_bounds.picks()[j].position, by_keys.picks()[j].position) << segment;
      }
    }
  }
}

TYPED_TEST(SegmentsOf, MultiplesOf64) {
  for (const std::size_t segment : {0u, 1u, 63u, 65u, 100u}) {
    expect_error([&] { TypeParam{segment}; }, {"skim::Sketch", "segment", std::to_string(segment).c_str(), "64"});
  }
}

}  // namespace
}  // namespace skim::test
