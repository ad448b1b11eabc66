// SPDX-License-Identifier: Apache-2.0
// Are the loops of an estimator found: a user's own, and the library's, in stacks and in text?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

struct OnlyThird {
  void validate() const {}
  std::size_t max_picks(std::size_t) const { return 1; }
  void select(const auto&, const auto&, Selection& selection, Workspace&) const { selection.add(3, 0.5); }
};

TEST(Select, AUsersOwnIsCalled) {
  const auto p = random_problem<float>({10, 8, 8, 1}, 1);
  const Selection selection = select(stack(Sinks{2}, OnlyThird{}), p.query(), p.kv());
  ASSERT_EQ(selection.picks().size(), 1u);
  EXPECT_EQ(selection.picks()[0].position, 3);
  EXPECT_EQ(selection.picks()[0].log_weight, 0.5);
  EXPECT_EQ(selection.spans().size(), 1u);
}

TEST(Select, TextAndStackSelectTheSame) {
  const auto p = random_problem<float>({300, 8, 8, 4}, 2);
  const Selection a = select(stack(Sinks{2}, Window{3}, TopK{20}, PriorityTail{30}), p.query(), p.kv());
  const Selection b = select(parse("sinks(2)+window(3)+topk(20)+priority(30)"), p.query(), p.kv());
  ASSERT_EQ(a.picks().size(), b.picks().size());
  for (std::size_t i = 0; i < a.picks().size(); ++i) {
    EXPECT_EQ(a.picks()[i].position, b.picks()[i].position);
    EXPECT_EQ(a.picks()[i].log_weight, b.picks()[i].log_weight);
  }
}

}  // namespace
}  // namespace skim::test
