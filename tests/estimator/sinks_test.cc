// SPDX-License-Identifier: Apache-2.0
// Are sinks the first positions of the KV head, as far as they are visible?
#include <gtest/gtest.h>

#include <stdexcept>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

Position selected(const Sinks& sinks, skim::Span visible, Position& first) {
  const auto p = random_problem<float>({20, 8, 8, 1}, 1);
  Query q = p.query();
  q.visible = visible;
  const Selection selection = select(sinks, q, p.kv());
  Position count = 0;
  for (const skim::Span span : selection.spans()) {
    if (count == 0) first = span.first;
    count += span.size();
  }
  return count;
}

TEST(Sinks, AreTheFirstPositions) {
  Position first = -1;
  EXPECT_EQ(selected({4}, kEverything, first), 4);
  EXPECT_EQ(first, 0);
  EXPECT_EQ(selected({0}, kEverything, first), 0);
  EXPECT_EQ(selected({100}, kEverything, first), 20);
}

TEST(Sinks, OutsideTheVisibleRangeDoNotExist) {
  Position first = -1;
  EXPECT_EQ(selected({4}, {2, 20}, first), 2);
  EXPECT_EQ(first, 2);
  EXPECT_EQ(selected({4}, {4, 20}, first), 0);
}

TEST(Sinks, ANegativeCountIsRefused) { EXPECT_THROW(Sinks{-1}.validate(), std::invalid_argument); }

}  // namespace
}  // namespace skim::test
