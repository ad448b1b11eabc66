// SPDX-License-Identifier: Apache-2.0
// Is a window the newest visible positions?
#include <gtest/gtest.h>

#include <stdexcept>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

skim::Span selected(const Window& window, Position position, skim::Span visible = kEverything) {
  const auto p = random_problem<float>({20, 8, 8, 1}, 1);
  Query q = p.query();
  q.position = position;
  q.visible = visible;
  const Selection selection = select(window, q, p.kv());
  return selection.spans().empty() ? skim::Span{} : selection.spans()[0];
}

TEST(Window, EndsAtTheQuery) {
  EXPECT_EQ(selected({4}, 19), (skim::Span{16, 20}));
  EXPECT_EQ(selected({4}, 10), (skim::Span{7, 11}));
  EXPECT_EQ(selected({1}, 10), (skim::Span{10, 11}));
}

TEST(Window, IsCutByTheVisibleRange) {
  EXPECT_EQ(selected({100}, 10), (skim::Span{0, 11}));
  EXPECT_EQ(selected({100}, 10, {5, 9}), (skim::Span{5, 9}));
  EXPECT_EQ(selected({0}, 10), skim::Span{});
}

TEST(Window, ANegativeWidthIsRefused) { EXPECT_THROW(Window{-1}.validate(), std::invalid_argument); }

}  // namespace
}  // namespace skim::test
