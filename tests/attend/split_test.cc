// SPDX-License-Identifier: Apache-2.0
// Does one row on all threads have the bits that it has on one?
#include "skim/skim.h"

#include <gtest/gtest.h>

#include "support/layer_problem.h"

namespace skim::test {
namespace {

// Fewer query groups than threads: the keys of each are scored by all threads, and nobody can tell.
TEST(Split, LogitsOfOneGroupAreScoredByAllThreads) {
  const LayerProblem<float> p({4, 1, 24, 16}, {{1, 10000}}, 10);
  const skim::Span visible[] = {{37, 10000}};
  for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
    LayerQuery query = p.query();
    query.visible = visible;
    query.grouping = grouping;
    for (const StageList& e : {parse("topk(50)"), parse("sinks(2)+window(9)+topk(20)+priority(30)")}) {
      LayerOutput serial(p), split(p);
      attend(e, query, p.kv(), serial.state());
      static std::size_t tasks_run;
      tasks_run = 0;
      Options options;
      options.executor.threads = 3;
      options.executor.run = [](void*, std::size_t tasks, Executor::Task task, void* arg) {
        tasks_run += tasks;
        for (std::size_t i = 0; i < tasks; ++i) task(arg, i, i % 3);
      };
      attend(e, query, p.kv(), split.state(), options);
      EXPECT_TRUE(same_bits(serial, split)) << to_text(e);
      EXPECT_GE(tasks_run, grouping == Grouping::kPerGroup ? 4u : 16u) << to_text(e);
    }
  }
}

}  // namespace
}  // namespace skim::test
