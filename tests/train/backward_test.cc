// SPDX-License-Identifier: Apache-2.0
// Are the gradients of a layer right in float, whatever its size, and do threads change a bit of them?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/threads.h"
#include "support/training_problem.h"

namespace skim::test {
namespace {

template <class E>
void expect_right(const E& estimator, const TrainingProblem<float>& p) {
  TrainingStep<float> step(p);
  step.run(estimator);
  EXPECT_TRUE(step.all_written());
  EXPECT_TRUE(agrees(step, lists_of(step.record, p)));
}

TEST(Backward, AnyNumberOfRowsAndKeys) {
  for (const std::size_t rows : {1u, 5u, 31u, 33u, 65u}) {
    for (const std::size_t n : {0u, 1u, 4u, 31u, 65u, 127u, 128u, 129u, 300u}) {
      SCOPED_TRACE(testing::Message() << rows << " rows against " << n << " positions");
      TrainingProblem<float> p({3, 1, 9, 7}, rows, n, rows + n);
      if (n == 0 || rows <= n) {  // more causal rows than keys are an error
        expect_right(Dense{}, p);
        expect_right(TopK{5}, p);
      }
      p.causal = false;
      expect_right(Dense{}, p);
      expect_right(TopK{5}, p);
    }
  }
}

TEST(Backward, AnyRowLengthAndGroup) {
  for (const std::size_t d : {1u, 3u, 8u, 46u, 64u, 80u, 128u}) {
    for (const std::size_t group : {1u, 2u, 3u, 4u, 7u}) {
      const std::size_t d_v = 1 + 511 * group % 130;
      SCOPED_TRACE(testing::Message() << "d " << d << ", d_v " << d_v << ", group " << group);
      const TrainingProblem<float> p({2 * group, 2, d, d_v}, 23, 40, d + group);
      expect_right(Dense{}, p);
      expect_right(TopK{6}, p);
    }
  }
}

// More rows than a task takes, and more positions.
TEST(Backward, SeveralTasks) {
  for (const std::size_t n : {512u, 513u, 1100u}) {
    SCOPED_TRACE(n);
    const TrainingProblem<float> square({2, 1, 16, 8}, n, n, n);
    expect_right(Dense{}, square);
    expect_right(stack(Sinks{4}, Window{30}, TopK{20}), square);
    const TrainingProblem<float> chunk({2, 2, 8, 16}, 70, n, n);
    expect_right(Dense{}, chunk);
    expect_right(PriorityTail{30}, chunk);
  }
}

TEST(Backward, EveryKindOfEstimator) {
  const TrainingProblem<float> p({4, 2, 24, 16}, 60, 60, 3);
  for (const char* text : {"dense", "sinks(4)", "window(9)", "sinks(4)+window(9)", "sinks(40)+window(9)", "topk(7)",
                           "topk(7)+dense", "topp(0.6)", "uniform(9)", "priority(9)", "systematic(9)", "poisson(9)",
                           "multinomial(9)", "sinks(2)+window(5)+topk(4)+priority(6)"}) {
    SCOPED_TRACE(text);
    expect_right(parse(text), p);
  }
}

TEST(Backward, LogitRulesSinksRangesAndGroupings) {
  TrainingProblem<float> p({8, 2, 20, 12}, 70, 150, 1);
  for (const double cap : {0.0, 2.0}) {
    for (const bool with : {false, true}) {
      for (const bool causal : {true, false}) {
        for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
          for (const int range : {0, 1, 2}) {
            p.soft_cap = cap;
            p.with_slopes = p.with_sinks = with;
            p.causal = causal;
            p.grouping = grouping;
            p.visible.clear();
            for (std::size_t r = 0; range != 0 && r < 70; ++r) {
              const auto first = static_cast<Position>(r * 131 % 149);
              p.visible.push_back(range == 1 ? sliding_window(p.position(r), 20)
                                             : skim::Span{first, first + static_cast<Position>(r * 71 % 90)});
            }
            SCOPED_TRACE(testing::Message()
                         << "soft cap " << cap << ", slopes and sinks " << with << ", causal " << causal
                         << ", per head " << (grouping == Grouping::kPerHead) << ", range " << range);
            expect_right(Dense{}, p);
            expect_right(stack(Window{3}, TopK{6}), p);
          }
        }
      }
    }
  }
}

TEST(Backward, ThreadsChangeNoBit) {
  TrainingProblem<float> p({4, 2, 20, 12}, 1300, 1300, 4);
  p.with_sinks = true;
  const auto check = [&](const auto& estimator) {
    TrainingStep<float> expected(p);
    expected.run(estimator);
    for (const std::size_t threads : {1u, 2u, 3u, 4u}) {
      for (const Executor& executor : {real_threads(threads), backwards(threads)}) {
        TrainingStep<float> step(p);
        step.run(estimator, {.executor = executor});
        EXPECT_TRUE(same_bits(step, expected)) << threads << " threads";
      }
    }
  };
  check(Dense{});
  check(stack(Sinks{4}, Window{30}, TopK{20}, PriorityTail{30}));
}

}  // namespace
}  // namespace skim::test
