// SPDX-License-Identifier: Apache-2.0
// Does a query see what it may see, all of it, and nothing else?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/guarded.h"
#include "support/problem.h"

namespace skim::test {
namespace {

constexpr Position kFarAway = std::numeric_limits<Position>::max();

void expect_right(const Problem<float>& p, const Query& q) {
  State state = attend(Dense{}, q, p.kv());
  EXPECT_TRUE(agrees_with_dense(state.view(), p, q));
}

TEST(Visible, UpToThePositionOfTheQuery) {
  const auto p = random_problem<float>({100, 24, 24, 2}, 1);
  Query q = p.query();
  for (q.position = 0; q.position < 100; ++q.position) {
    SCOPED_TRACE(testing::Message() << "position " << q.position);
    expect_right(p, q);
  }
}

TEST(Visible, EverythingWithoutCausality) {
  const auto p = random_problem<float>({100, 24, 24, 2}, 2);
  Query q = p.query();
  q.causal = false;
  for (const Position position : {Position{0}, Position{50}, Position{99}, Position{1000}, kNewest}) {
    SCOPED_TRACE(testing::Message() << "position " << position);
    q.position = position;
    State state = attend(Dense{}, q, p.kv());
    EXPECT_TRUE(agrees(state.view(), p, q, everything(0, 100)));
  }
}

TEST(Visible, AfterTheNewestPositionMeansAll) {
  const auto p = random_problem<float>({100, 24, 24, 2}, 3);
  Query q = p.query();
  const State newest = attend(Dense{}, q, p.kv());
  for (const Position position : {Position{99}, Position{100}, Position{100000}, kFarAway - 1}) {
    q.position = position;
    const State state = attend(Dense{}, q, p.kv());
    EXPECT_TRUE(same_bits(state.out(), newest.out(), 48)) << position;
  }
}

TEST(Visible, SlidingWindows) {
  const auto p = random_problem<float>({100, 24, 24, 2}, 4);
  Query q = p.query();
  for (q.position = 0; q.position < 100; q.position += 7) {
    for (const Position width : {Position{1}, Position{2}, Position{16}, Position{33}, Position{1000}}) {
      SCOPED_TRACE(testing::Message() << "width " << width << " at " << q.position);
      q.visible = sliding_window(q.position, width);
      expect_right(p, q);
    }
  }
}

TEST(Visible, AnyRangeCutToWhatExists) {
  const auto p = random_problem<float>({100, 24, 24, 2}, 5);
  Query q = p.query();
  const skim::Span ranges[] = {{0, 1}, {99, 100}, {31, 33}, {-5, 7}, {90, 1000}, {-kFarAway, kFarAway}, {15, 16}};
  for (const skim::Span range : ranges) {
    SCOPED_TRACE(testing::Message() << "[" << range.first << ", " << range.last << ")");
    q.visible = range;
    expect_right(p, q);
  }
}

TEST(Visible, NothingIsTheEmptySet) {
  const auto p = random_problem<float>({100, 24, 24, 2}, 6);
  const skim::Span ranges[] = {{0, 0}, {5, 5}, {7, 3}, {100, 200}, {-9, 0}, {kFarAway, -kFarAway}};
  for (const skim::Span range : ranges) {
    Query q = p.query();
    q.visible = range;
    Guarded<float> out(48), lse(2);
    Workspace ws;
    attend(Dense{}, q, p.kv(), {{out.data(), 2, 24}, lse.data()}, ws);
    const float zeros[48] = {}, empty[2] = {-INFINITY, -INFINITY};
    EXPECT_TRUE(same_bits(out.data(), zeros, 48));
    EXPECT_TRUE(same_bits(lse.data(), empty, 2));
    EXPECT_TRUE(out.fences_stand() && lse.fences_stand());
  }
}

// What follows the visible range may be memory that nobody has written yet.
TEST(Visible, WhatIsNotVisibleIsNotRead) {
  const auto p = random_problem<float>({100, 24, 24, 2}, 7);
  auto poisoned = p;
  for (std::size_t i = 0; i < 100; ++i) {
    if (i >= 30 && i < 71) continue;
    for (std::size_t c = 0; c < 24; ++c) {
      poisoned.keys[i * 24 + c] = c % 2 == 0 ? NAN : INFINITY;
      poisoned.values[i * 24 + c] = c % 2 == 0 ? INFINITY : NAN;
    }
  }
  Query q = p.query();
  q.visible = {30, 1000};
  q.position = 70;
  const auto expect_same = [&](const auto& estimator) {
    State clean = attend(estimator, q, p.kv()), dirty = attend(estimator, q, poisoned.kv());
    EXPECT_TRUE(same_bits(clean.out(), dirty.out(), 48));
    EXPECT_TRUE(same_bits(clean.view().lse, dirty.view().lse, 2));
  };
  expect_same(Dense{});
  expect_same(Sinks{40});
  expect_same(Window{10});
  expect_same(TopK{7});
  expect_same(UniformTail{7});
  expect_same(PriorityTail{7});
}

}  // namespace
}  // namespace skim::test
