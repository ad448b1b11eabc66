// SPDX-License-Identifier: Apache-2.0
// Are the gradients those of the loss? By central differences in double, what is selected and its weights held fixed,
// for every estimator of the library.
#include <gtest/gtest.h>

#include "laws/cases.h"
#include "skim/skim.h"
#include "support/training_problem.h"
#include "train/differences.h"

namespace skim::test {
namespace {

template <class E>
void expect_gradients(const E& estimator, const TrainingProblem<double>& p) {
  TrainingStep<double> step(p);
  step.run(estimator);
  EXPECT_TRUE(step.all_written());
  const Lists lists = lists_of(step.record, p);
  EXPECT_TRUE(agrees_with_differences(step, lists));
  EXPECT_TRUE(agrees(step, lists));
}

template <class Case>
struct Differences : testing::Test {};
TYPED_TEST_SUITE_P(Differences);

TYPED_TEST_P(Differences, OddSizesAndGroups) {
  struct Size {
    LayerShape shape;
    std::size_t rows, n;
  };
  for (const auto& [shape, rows, n] : {Size{{1, 1, 1, 1}, 1, 1}, Size{{1, 1, 3, 2}, 4, 9}, Size{{6, 2, 5, 7}, 13, 13},
                                       Size{{4, 1, 2, 3}, 7, 5}, Size{{3, 3, 8, 4}, 2, 37}}) {
    SCOPED_TRACE(testing::Message() << rows << " rows against " << n << " positions, " << shape.q_heads << " heads");
    TrainingProblem<double> p(shape, rows, n, rows + n);
    p.causal = rows <= n;
    expect_gradients(TypeParam::some(), p);
  }
}

TYPED_TEST_P(Differences, LogitRulesSinksRangesAndGroupings) {
  TrainingProblem<double> p({4, 2, 3, 2}, 11, 17, 5);
  for (std::size_t r = 0; r < 11; ++r) {
    const auto first = static_cast<Position>(r * 7 % 12);
    p.visible.push_back({first, first + static_cast<Position>(r * 5 % 11)});  // without any order, some empty
  }
  p.soft_cap = 2.5;
  p.with_slopes = p.with_sinks = true;
  for (const bool causal : {true, false}) {
    for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
      p.causal = causal;
      p.grouping = grouping;
      expect_gradients(TypeParam::some(), p);
      expect_gradients(TypeParam::all(), p);
    }
  }
}

REGISTER_TYPED_TEST_SUITE_P(Differences, OddSizesAndGroups, LogitRulesSinksRangesAndGroupings);
INSTANTIATE_TYPED_TEST_SUITE_P(Single, Differences, SingleCases);
INSTANTIATE_TYPED_TEST_SUITE_P(Stacks, Differences, StackCases);

}  // namespace
}  // namespace skim::test
