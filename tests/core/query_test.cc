// SPDX-License-Identifier: Apache-2.0
#include "skim/core/query.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace {

using skim::kNewest;
using skim::Position;
using skim::Query;
using skim::Span;

Query of_dim(std::size_t d) {
  static const std::vector<float> memory(1024);
  Query q;
  q.rows = {memory.data(), 2, d};
  return q;
}

TEST(Query, DefaultsAreTheNewestPositionAndOneOverRootD) {
  const Query q = of_dim(64).resolved(100);
  EXPECT_EQ(q.position, 99);
  EXPECT_EQ(q.visible, (Span{0, 100}));
  ASSERT_TRUE(q.logit.scale.has_value());
  EXPECT_EQ(*q.logit.scale, 0.125);
  EXPECT_EQ(q.heads(), 2u);
}

TEST(Query, ScaleOfTheCallerStays) {
  Query q = of_dim(64);
  q.logit.scale = 0.0;
  EXPECT_EQ(*q.resolved(5).logit.scale, 0.0);
}

TEST(Query, CausalSeesUpToItself) {
  Query q = of_dim(8);
  for (const Position at : {0, 1, 50, 98, 99}) {
    q.position = at;
    EXPECT_EQ(q.resolved(100).visible, (Span{0, at + 1}));
  }
  q.position = 50;
  q.causal = false;
  EXPECT_EQ(q.resolved(100).visible, (Span{0, 100}));
}

// A position after the newest key: a query whose own key is not in the cache.
TEST(Query, NeverSeesWhatDoesNotExist) {
  Query q = of_dim(8);
  for (const Position at : {Position{100}, Position{1000}, std::numeric_limits<Position>::max()}) {
    q.position = at;
    EXPECT_EQ(q.resolved(100).visible, (Span{0, 100})) << at;
    EXPECT_EQ(q.resolved(100).position, at) << "ALiBi distances count from there";
  }
}

TEST(Query, VisibleRangeIsAnIntersection) {
  Query q = of_dim(8);
  q.visible = {20, 80};
  EXPECT_EQ(q.resolved(100).visible, (Span{20, 80}));
  EXPECT_EQ(q.resolved(50).visible, (Span{20, 50}));
  q.position = 30;
  EXPECT_EQ(q.resolved(100).visible, (Span{20, 31}));
  q.visible = {-5, 10};
  EXPECT_EQ(q.resolved(100).visible, (Span{0, 10}));
}

TEST(Query, EmptyRangesAreOneAndTheSame) {
  Query q = of_dim(8);
  EXPECT_EQ(q.resolved(0).visible, (Span{0, 0}));
  q.visible = {60, 40};
  EXPECT_EQ(q.resolved(100).visible, (Span{0, 0}));
  q.visible = {60, 80};
  q.position = 10;
  EXPECT_EQ(q.resolved(100).visible, (Span{0, 0}));
}

TEST(Query, ResolvingTwiceChangesNothing) {
  Query q = of_dim(16);
  q.visible = {3, 40};
  const Query once = q.resolved(30), twice = once.resolved(30);
  EXPECT_EQ(once.visible, twice.visible);
  EXPECT_EQ(once.position, twice.position);
  EXPECT_EQ(once.logit.scale, twice.logit.scale);
}

TEST(Query, HeadTakesItsRowSlopeAndSink) {
  std::vector<float> rows(3 * 10), slopes{1, 2, 3}, sinks{4, 5, 6};
  Query q;
  q.rows = {rows.data(), 3, 8, 10};
  q.position = 7;
  q.logit.alibi_slopes = slopes.data();
  q.sink_logits = sinks.data();
  for (std::size_t h = 0; h < 3; ++h) {
    const Query one = q.head(h);
    EXPECT_EQ(one.heads(), 1u);
    EXPECT_EQ(one.rows.row(0), rows.data() + 10 * h);
    EXPECT_EQ(one.rows.cols, 8u);
    EXPECT_EQ(*one.logit.alibi_slopes, slopes[h]);
    EXPECT_EQ(*one.sink_logits, sinks[h]);
    EXPECT_EQ(one.position, 7);
  }
  q.logit.alibi_slopes = q.sink_logits = nullptr;
  EXPECT_EQ(q.head(2).logit.alibi_slopes, nullptr);
  EXPECT_EQ(q.head(2).sink_logits, nullptr);
}

}  // namespace
