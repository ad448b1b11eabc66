// SPDX-License-Identifier: Apache-2.0
// Law 7 in training: does a step that has been made before ask for no memory?
#include <gtest/gtest.h>

#include "laws/allocations.h"
#include "skim/skim.h"
#include "support/threads.h"
#include "support/training_problem.h"

namespace skim::test {
namespace {

TEST(BackwardAllocations, NoneAfterWarmUp) {
  TrainingProblem<float> p({4, 2, 20, 12}, 600, 600, 1);
  p.with_sinks = true;
  TrainingStep<float> step(p);
  std::vector<Workspace> workspaces(3);
  for (const char* text : {"dense", "sinks(2)+window(9)+topk(20)", "topk(5)+priority(9)"}) {
    const auto estimator = parse(text);
    for (const Executor& executor : {Executor{}, backwards(3)}) {
      const Options options{.executor = executor, .workspaces = workspaces, .record = &step.record};
      std::size_t asked = 0;
      for (int round = 0; round < 2; ++round) {
        const std::size_t before = allocations();
        attend(estimator, p.query(), step.kv(), step.state(), options);
        backward(step.record, p.query(), step.kv(), step.gradients(), options);
        backward(estimator, p.query(), step.kv(), step.gradients(), options);
        asked = allocations() - before;
      }
      EXPECT_EQ(asked, 0u) << text << ", " << executor.threads << " threads";
    }
  }
}

}  // namespace
}  // namespace skim::test
