// SPDX-License-Identifier: Apache-2.0
// Does dense select all that is left, and only what is visible?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

TEST(Dense, SelectsTheVisibleRangeAsOneSpan) {
  const auto p = random_problem<float>({50, 8, 8, 2}, 1);
  Query q = p.query();
  q.visible = {7, 41};
  const Selection selection = select(Dense{}, q, p.kv());
  ASSERT_EQ(selection.spans().size(), 1u);
  EXPECT_EQ(selection.spans()[0], (skim::Span{7, 41}));
  EXPECT_TRUE(selection.picks().empty());
}

TEST(Dense, FillsWhatEarlierStagesHaveLeft) {
  const auto p = random_problem<float>({50, 8, 8, 2}, 2);
  const Selection selection = select(stack(Sinks{3}, Window{4}, Dense{}), p.query(), p.kv());
  Position count = 0;
  for (const skim::Span span : selection.spans()) count += span.size();
  EXPECT_EQ(count, 50);
}

TEST(Dense, IsDense) {
  Dense{}.validate();
  EXPECT_EQ(Dense{}.max_picks(12), 12u);
  EXPECT_TRUE(stands_for_rest<Dense>());
}

}  // namespace
}  // namespace skim::test
