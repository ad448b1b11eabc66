// SPDX-License-Identifier: Apache-2.0
// Is a list of stages what the stack of the same stages is?
#include "skim/estimator/stage_list.h"

#include <stdexcept>

#include <gtest/gtest.h>

#include "support/indexes.h"
#include "support/selections.h"

namespace skim::test {
namespace {

TEST(StageList, SelectsAndSaysWhatAStackDoes) {
  const auto p = random_problem<float>({300, 16, 8, 3}, 1);
  Sketch<1> sketch;
  append(sketch, p.kv());
  const auto kv = with_index(p.kv(), sketch);
  const auto expect_same = [&](const StageList& list, const auto& stack) {
    const auto of_list = list_of(select(list, p.query(), kv)), of_stack = list_of(select(stack, p.query(), kv));
    ASSERT_EQ(of_list.size(), of_stack.size());
    for (std::size_t i = 0; i < of_list.size(); ++i) {
      EXPECT_EQ(of_list[i].position, of_stack[i].position);
      EXPECT_EQ(of_list[i].weight, of_stack[i].weight);
    }
    for (const std::size_t n : {0u, 10u, 300u}) EXPECT_EQ(list.max_picks(n), stack.max_picks(n));
    EXPECT_EQ(sources(list), sources(stack));
    EXPECT_EQ(scored_sources(list), scored_sources(stack));
    EXPECT_EQ(reads_logits(list), reads_logits(stack));
  };
  const TopK by_keys{20}, by_sketch{20, Source::kSketch1};
  expect_same({{Sinks{4}, Window{9}, by_keys, PriorityTail{30}}}, stack(Sinks{4}, Window{9}, by_keys, PriorityTail{30}));
  expect_same({{Sinks{4}, by_sketch}}, stack(Sinks{4}, by_sketch));
  expect_same({{Sinks{1}, UniformTail{7}}}, stack(Sinks{1}, UniformTail{7}));
  EXPECT_TRUE(list_of(select(StageList{}, p.query(), kv)).empty());
}

TEST(StageList, ValidatesEachStage) {
  EXPECT_THROW((StageList{{Sinks{4}, TopK{fraction(2.0)}}}.validate()), std::invalid_argument);
  EXPECT_THROW((StageList{{Sinks{-4}, TopK{1}}}.validate()), std::invalid_argument);
  EXPECT_NO_THROW((StageList{{Sinks{4}, TopK{1}}}.validate()));
}

// Law 3 for a list that was put together at run time.
TEST(StageList, ATailThatIsNotLastIsRefused) {
  const auto p = random_problem<float>({300, 16, 8, 3}, 1);
  const auto selects = [&](const StageList& list) { select(list, p.query(), p.kv()); };
  EXPECT_THROW(selects({{Dense{}, Sinks{4}}}), std::invalid_argument);
  EXPECT_THROW(selects({{Sinks{4}, PriorityTail{4}, TopK{4}}}), std::invalid_argument);
  EXPECT_THROW(selects({{UniformTail{3}, TopK{4}}}), std::invalid_argument);
  EXPECT_NO_THROW(selects({{Sinks{4}, PriorityTail{4}}}));
  EXPECT_TRUE(StageList::is_tail(LshTail{}));
  EXPECT_FALSE(StageList::is_tail(TopK{4}));
}

}  // namespace
}  // namespace skim::test
