// SPDX-License-Identifier: Apache-2.0
// Does every task run once, and does what one throws come out where the tasks were started?
#include "skim/attend/run_tasks-inl.h"

#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/threads.h"

namespace skim::test {
namespace {

TEST(RunTasks, EachOnceOnAWorkerThatIsThere) {
  for (const Executor& executor : {Executor{}, backwards(3), real_threads(4)}) {
    std::vector<int> runs(100), worker_of(100, -1);
    HWY_NAMESPACE::run_tasks(executor, runs.size(), [&](std::size_t i, std::size_t worker) {
      ++runs[i];
      worker_of[i] = static_cast<int>(worker);
    });
    for (std::size_t i = 0; i < runs.size(); ++i) {
      EXPECT_EQ(runs[i], 1) << i;
      EXPECT_LT(worker_of[i], static_cast<int>(executor.threads)) << i;
    }
  }
}

TEST(RunTasks, WhatATaskThrowsComesOutHere) {
  for (const Executor& executor : {Executor{}, backwards(3), real_threads(4)}) {
    try {
      HWY_NAMESPACE::run_tasks(executor, 20, [](std::size_t i, std::size_t) {
        if (i == 7) throw std::runtime_error("task 7");
      });
      ADD_FAILURE() << "nothing came out";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(std::string(error.what()), "task 7");
    }
  }
}

TEST(RunTasks, NoneAtAll) {
  HWY_NAMESPACE::run_tasks(real_threads(2), 0, [](std::size_t, std::size_t) { ADD_FAILURE(); });
}

}  // namespace
}  // namespace skim::test
