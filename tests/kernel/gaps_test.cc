// SPDX-License-Identifier: Apache-2.0
#include "skim/kernel/gaps-inl.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "skim/core/validate.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Some positions of [0, n) as a selection in order, and as marks.
struct Marked {
  Selection selection{};
  std::vector<bool> taken{};

  Marked(Position n, std::mt19937& random, double share) : taken(static_cast<std::size_t>(n)) {
    std::bernoulli_distribution take(share), longer(0.7);
    for (Position i = 0; i < n; ++i) {
      if (!take(random)) continue;
      if (random() % 2 == 0) {
        selection.add(i);
        taken[static_cast<std::size_t>(i)] = true;
      } else {
        Span span{i, i + 1};
        while (span.last < n && longer(random)) ++span.last;
        selection.add(span);
        for (; i < span.last; ++i) taken[static_cast<std::size_t>(i)] = true;
        --i;  // spans may touch, as sinks and a window do
      }
    }
  }

  /// Positions within `within` that are not taken.
  std::vector<Position> left(Span within) const {
    std::vector<Position> positions;
    for (Position i = within.first; i < within.last; ++i) {
      if (!taken[static_cast<std::size_t>(i)]) positions.push_back(i);
    }
    return positions;
  }
};

std::vector<Position> positions_of(const Selection& s) {
  std::vector<Position> all;
  for (const Span span : s.spans()) {
    for (Position i = span.first; i < span.last; ++i) all.push_back(i);
  }
  for (const Pick pick : s.picks()) all.push_back(pick.position);
  std::sort(all.begin(), all.end());
  return all;
}

TEST(Gaps, AreWhatIsLeftPositionByPosition) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 3000; ++trial) {
    const Position n = 1 + static_cast<Position>(random() % 40);
    const Marked m(n, random, 0.05 * static_cast<double>(trial % 20));
    const Position first = static_cast<Position>(random()) % (n + 1);
    const Span within{first, first + static_cast<Position>(random()) % (n + 1 - first)};
    std::vector<Position> found;
    Position end = -1;
    for_each_gap(m.selection, within, [&](Span gap) {
      ASSERT_GT(gap.size(), 0);
      ASSERT_GT(gap.first, end) << "gaps are maximal and ascending";
      end = gap.last;
      for (Position i = gap.first; i < gap.last; ++i) found.push_back(i);
    });
    ASSERT_EQ(found, m.left(within)) << trial;
    ASSERT_EQ(count_gaps(m.selection, within), static_cast<Position>(found.size()));
  }
}

// A user's estimator adds what it is shown while it is shown it.
TEST(Gaps, MayBeFilledWhileTheyAreWalked) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 1000; ++trial) {
    Marked m(60, random, 0.03 * static_cast<double>(trial % 20));
    commit(m.selection);
    const Span within{3, 55};
    std::vector<Position> expected = positions_of(m.selection);
    for (const Position i : m.left(within)) expected.push_back(i);
    std::sort(expected.begin(), expected.end());
    for_each_gap(m.selection, within, [&](Span gap) {
      if (random() % 2 == 0) {
        m.selection.add(gap);
      } else {
        for (Position i = gap.first; i < gap.last; ++i) m.selection.add(i);
      }
    });
    commit(m.selection);
    ASSERT_EQ(positions_of(m.selection), expected) << trial;
    ASSERT_NO_THROW(check_selection(m.selection, {0, 60}));
  }
}

TEST(Gaps, OfNothingIsEverything) {
  int gaps = 0;
  for_each_gap(Selection(), {3, 9}, [&](Span gap) {
    EXPECT_EQ(gap, (Span{3, 9}));
    ++gaps;
  });
  EXPECT_EQ(gaps, 1);
  for_each_gap(Selection(), {9, 9}, [&](Span) { ++gaps; });
  EXPECT_EQ(gaps, 1);
}

TEST(Gaps, AddingThemLeavesNothing) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 1000; ++trial) {
    Marked m(40, random, 0.2);
    commit(m.selection);
    const Span within{5, 37};
    const auto expected_left = m.left(within);
    const std::size_t before = positions_of(m.selection).size();
    add_gaps(m.selection, within);
    commit(m.selection);
    ASSERT_EQ(count_gaps(m.selection, within), 0);
    ASSERT_EQ(positions_of(m.selection).size(), before + expected_left.size());
    ASSERT_NO_THROW(check_selection(m.selection, {0, 40}));
  }
}

TEST(Ranks, BecomeThePositionsThatAreLeft) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 2000; ++trial) {
    Marked m(50, random, 0.15);
    commit(m.selection);
    const Span within{2, 45};
    const auto left = m.left(within);
    std::vector<std::size_t> ranks;
    for (std::size_t r = 0; r < left.size(); ++r) {
      if (random() % 3 == 0) ranks.push_back(r);
    }
    const std::size_t before = m.selection.picks().size();
    add_ranks(m.selection, within, ranks.data(), ranks.size(),
              [](std::size_t j) { return 0.5 * static_cast<double>(j); });
    ASSERT_EQ(m.selection.picks().size(), before + ranks.size());
    for (std::size_t j = 0; j < ranks.size(); ++j) {
      ASSERT_EQ(m.selection.picks()[before + j].position, left[ranks[j]]) << trial;
      ASSERT_EQ(m.selection.picks()[before + j].log_weight, 0.5 * static_cast<double>(j));
    }
  }
}

// ---- one ascending list of all stages ----

TEST(Commit, MergesTheRunsOfSeveralStages) {
  std::mt19937 random(4);
  for (int trial = 0; trial < 500; ++trial) {
    std::vector<Position> order(60);
    std::iota(order.begin(), order.end(), Position{0});
    std::shuffle(order.begin(), order.end(), random);
    Selection s;
    std::size_t next = 0;
    for (int stage = 0; stage < 4; ++stage) {
      const std::size_t count = std::min<std::size_t>(random() % 15, order.size() - next);
      std::vector<Position> own(order.begin() + static_cast<std::ptrdiff_t>(next),
                                order.begin() + static_cast<std::ptrdiff_t>(next + count));
      next += count;
      std::sort(own.begin(), own.end());
      for (const Position p : own) {
        if (p % 3 == 0)
          s.add(Span{p, p + 1});
        else
          s.add(p, static_cast<double>(p) / 8);
      }
      commit(s);
      ASSERT_NO_THROW(check_selection(s, {0, 60})) << "after stage " << stage;
    }
    std::vector<Position> expected(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(next));
    std::sort(expected.begin(), expected.end());
    ASSERT_EQ(positions_of(s), expected);
    for (const Pick pick : s.picks())
      ASSERT_EQ(pick.log_weight, static_cast<double>(pick.position) / 8) << "weights travel along";
  }
}

TEST(Commit, OfNothingNewChangesNothing) {
  Selection s;
  commit(s);
  s.add(Span{3, 5});
  s.add(9);
  commit(s);
  const Span* spans = s.spans().data();
  commit(s);
  EXPECT_EQ(s.spans().data(), spans);
  ASSERT_EQ(s.spans().size(), 1u);
  EXPECT_EQ(s.spans()[0], (Span{3, 5}));
}
}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
