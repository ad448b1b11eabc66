// SPDX-License-Identifier: Apache-2.0
#include "skim/core/position.h"

#include <gtest/gtest.h>

namespace {

using skim::intersect;
using skim::Position;
using skim::Span;

TEST(Span, HoldsFirstButNotLast) {
  const Span s{3, 6};
  EXPECT_EQ(s.size(), 3);
  EXPECT_FALSE(s.contains(2));
  EXPECT_TRUE(s.contains(3));
  EXPECT_TRUE(s.contains(5));
  EXPECT_FALSE(s.contains(6));
}

TEST(Span, EmptyHasNoNegativeSize) {
  EXPECT_EQ((Span{5, 5}).size(), 0);
  EXPECT_EQ((Span{6, 2}).size(), 0);
  EXPECT_FALSE((Span{6, 2}).contains(4));
}

// Position by position, all spans with ends in [0, 6].
TEST(Span, IntersectionHoldsWhatBothHold) {
  for (Position a = 0; a <= 6; ++a) {
    for (Position b = 0; b <= 6; ++b) {
      for (Position c = 0; c <= 6; ++c) {
        for (Position d = 0; d <= 6; ++d) {
          const Span both = intersect({a, b}, {c, d});
          for (Position i = 0; i <= 6; ++i) {
            ASSERT_EQ(both.contains(i), Span({a, b}).contains(i) && Span({c, d}).contains(i));
          }
        }
      }
    }
  }
}

TEST(Span, EverythingIsNeutral) {
  EXPECT_EQ(intersect(skim::kEverything, {3, 9}), (Span{3, 9}));
  EXPECT_GT(skim::kEverything.size(), Position{1} << 60);
}

// Position p sees itself and the width - 1 before it.
TEST(SlidingWindow, EndsAtThePositionItself) {
  EXPECT_EQ(skim::sliding_window(9, 4), (Span{6, 10}));
  EXPECT_EQ(skim::sliding_window(9, 1), (Span{9, 10}));
  EXPECT_EQ(skim::sliding_window(2, 4), (Span{0, 3}));
  EXPECT_EQ(skim::sliding_window(2, skim::kEverything.last), (Span{0, 3}));
  EXPECT_EQ(skim::sliding_window(9, 0).size(), 0);
}

}  // namespace
