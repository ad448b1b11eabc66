// SPDX-License-Identifier: Apache-2.0
// The tasks of a backward pass write to one set of gradients: those of a phase to different rows. ThreadSanitizer sees
// it when they do not.
#include <gtest/gtest.h>

#include "concurrency/executors.h"
#include "skim/skim.h"
#include "support/training_problem.h"

namespace skim::test {
namespace {

TEST(BackwardOnThreads, WritesNoRowTwiceAtATime) {
  const TrainingProblem<float> p({4, 2, 16, 8}, 1100, 1100, 4);
  for (const char* text : {"dense", "sinks(2)+window(9)+topk(20)+priority(9)"}) {
    const StageList estimator = parse(text);
    TrainingStep<float> expected(p);
    expected.run(estimator);
    for (const NamedExecutor& on : every_executor()) {
      TrainingStep<float> step(p);
      step.run(estimator, {.executor = on.executor});
      EXPECT_TRUE(same_bits(step, expected)) << text << ", " << on.name;
    }
  }
}

}  // namespace
}  // namespace skim::test
