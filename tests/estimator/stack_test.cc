// SPDX-License-Identifier: Apache-2.0
// Does a stack select stage by stage, each from what the others have left, nothing twice?
#include <algorithm>
#include <stdexcept>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

struct Stacks : testing::Test {
  Problem<float> p = random_problem<float>({300, 16, 8, 3}, 1);
  Query q = p.query();

  Selection selected(const auto& estimator) { return select(estimator, q, p.kv()); }
};

/// The k positions outside of `taken` with the largest pooled logits.
std::vector<Position> top_of_rest(const Problem<float>& p, const Query& query, std::vector<Position> taken, std::size_t k) {
  Workspace ws;
  const Query q = query.resolved(static_cast<Position>(p.shape.n));
  const auto s = logits(q, p.kv(), ws);
  std::vector<std::pair<float, Position>> rest;
  for (Position i = q.visible.first; i < q.visible.last; ++i) {
    if (std::binary_search(taken.begin(), taken.end(), i)) continue;
    float top = -INFINITY;
    for (std::size_t h = 0; h < q.heads(); ++h) top = std::max(top, s.of_head(h)[i - q.visible.first]);
    rest.push_back({-top, i});
  }
  std::sort(rest.begin(), rest.end());
  for (std::size_t j = 0; j < k; ++j) taken.push_back(rest[j].second);
  std::sort(taken.begin(), taken.end());
  return taken;
}

TEST_F(Stacks, TopKIsOfWhatIsLeft) {
  std::vector<Position> expected = positions_of(selected(stack(Sinks{4}, Window{20})));
  ASSERT_EQ(expected.size(), 24u);
  expected = top_of_rest(p, q, expected, 15);
  EXPECT_EQ(positions_of(selected(stack(Sinks{4}, Window{20}, TopK{15}))), expected);
}

TEST_F(Stacks, TwoTopKsAreOneOfBoth) {
  EXPECT_EQ(positions_of(selected(stack(TopK{10}, TopK{15}))), positions_of(selected(TopK{25})));
  EXPECT_EQ(positions_of(selected(stack(TopK{10}, Sinks{50}, Window{50}, TopK{15}))),
            top_of_rest(p, q, positions_of(selected(stack(TopK{10}, Sinks{50}, Window{50}))), 15));
}

TEST_F(Stacks, LaterStagesDoNotChangeEarlierOnes) {
  const Selection first = selected(stack(Sinks{4}, TopK{10}));
  const Selection all = selected(stack(Sinks{4}, TopK{10}, Window{30}, PriorityTail{20}));
  EXPECT_EQ(list_of(all).size(), selected(stack(Sinks{4}, TopK{10}, Window{30})).picks().size() +
                                     positions_of(selected(stack(Sinks{4}, TopK{10}, Window{30}))).size() - 10 + 20);
  for (const Pick& pick : first.picks()) {
    const auto same = std::find_if(all.picks().begin(), all.picks().end(),
                                   [&](const Pick& other) { return other.position == pick.position; });
    ASSERT_NE(same, all.picks().end());
    EXPECT_EQ(same->log_weight, 0.0);
  }
}

TEST_F(Stacks, PicksOfAllStagesAreInOneOrder) {
  const Selection all = selected(stack(TopK{30}, TopK{20}, TopK{10}, PriorityTail{40}));
  ASSERT_EQ(all.picks().size(), 100u);
  for (std::size_t i = 1; i < 100; ++i) EXPECT_LT(all.picks()[i - 1].position, all.picks()[i].position);
}

TEST_F(Stacks, NestingChangesNothing) {
  const Selection flat = selected(stack(Sinks{4}, Window{9}, TopK{10}, PriorityTail{12}));
  const Selection nested = selected(stack(stack(Sinks{4}, Window{9}), stack(TopK{10}, PriorityTail{12})));
  const Selection text = selected(parse("sinks(4)+window(9)+topk(10)+priority(12)"));
  for (const Selection* other : {&nested, &text}) {
    ASSERT_EQ(other->picks().size(), flat.picks().size());
    for (std::size_t i = 0; i < flat.picks().size(); ++i) {
      EXPECT_EQ(other->picks()[i].position, flat.picks()[i].position);
      EXPECT_EQ(other->picks()[i].log_weight, flat.picks()[i].log_weight);
    }
    EXPECT_TRUE(std::equal(other->spans().begin(), other->spans().end(), flat.spans().begin(), flat.spans().end()));
  }
}

TEST_F(Stacks, OfOneStageIsThatStage) {
  const Selection alone = selected(TopK{17}), stacked = selected(stack(TopK{17}));
  EXPECT_EQ(positions_of(alone), positions_of(stacked));
}

TEST_F(Stacks, StagesWithNothingLeftToDo) {
  EXPECT_EQ(positions_of(selected(stack(Sinks{300}, Window{300}, TopK{300}, PriorityTail{300}))).size(), 300u);
  EXPECT_EQ(positions_of(selected(stack(TopK{300}, UniformTail{5}))).size(), 300u);
  EXPECT_EQ(positions_of(selected(stack(Sinks{0}, Window{0}, TopK{0}, UniformTail{0}))).size(), 0u);
  EXPECT_EQ(positions_of(selected(stack(Sinks{299}, UniformTail{1}))).size(), 300u);
}

// The scores of an attend are computed once; a stage that finds them must find the right ones.
TEST_F(Stacks, SharedScoresAreThoseOfThisQuery) {
  Workspace ws;
  State state(3, 8);
  const auto other = random_problem<float>({300, 16, 8, 3}, 2);
  attend(TopK{10}, other.query(), other.kv(), state.view(), ws);
  attend(stack(TopK{10}, TopK{10}), q, p.kv(), state.view(), ws);
  const State fresh = attend(stack(TopK{10}, TopK{10}), q, p.kv());
  EXPECT_TRUE(same_bits(state.out(), fresh.out(), 24));
}

TEST_F(Stacks, AtMostWhatTheySay) {
  const auto e = stack(Sinks{4}, Window{9}, TopK{power(2, 0.5)}, PriorityTail{fraction(0.1)});
  EXPECT_EQ(e.max_picks(300), 4u + 9 + 35 + 30);
  EXPECT_EQ(e.max_picks(10), 10u);
  EXPECT_EQ(e.max_picks(0), 0u);
}

TEST_F(Stacks, ValidateEachStage) {
  EXPECT_THROW(stack(Sinks{4}, TopK{-1}).validate(), std::invalid_argument);
  EXPECT_THROW(stack(Sinks{-4}, TopK{1}).validate(), std::invalid_argument);
  EXPECT_THROW(stack(Sinks{4}, stack(Window{3}, UniformTail{fraction(2)})).validate(), std::invalid_argument);
  EXPECT_NO_THROW(stack(Sinks{4}, Window{0}, TopK{1}).validate());
}

}  // namespace
}  // namespace skim::test
