// SPDX-License-Identifier: Apache-2.0
#include "bench/pool.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace skim_bench {
namespace {

// The contract of skim::Executor: each task once, workers below `threads`, no two tasks at a time on one.
TEST(Pool, RunsEachTaskOnceOnItsWorker) {
  for (const std::size_t threads : {1u, 2u, 3u, 7u}) {
    Pool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (const std::size_t tasks : {0u, 1u, 2u, 5u, 100u}) {
      for (int repeat = 0; repeat < 50; ++repeat) {
        std::vector<std::atomic<int>> done(tasks);
        std::vector<std::atomic<int>> busy(threads);
        std::atomic<int> clashes{0};
        pool.each(tasks, [&](std::size_t i, std::size_t worker) {
          if (worker >= threads || busy[worker].fetch_add(1) != 0) {
            ++clashes;
            return;
          }
          ++done[i];
          busy[worker].fetch_sub(1);
        });
        EXPECT_EQ(clashes, 0);
        for (const auto& count : done) EXPECT_EQ(count, 1);
      }
    }
  }
}

TEST(Pool, IsAnExecutor) {
  Pool alone(1), three(3);
  EXPECT_EQ(alone.executor().run, nullptr) << "one thread: serial";
  const skim::Executor executor = three.executor();
  EXPECT_EQ(executor.threads, 3u);
  std::vector<int> squares(20);
  executor.run(
      executor.pool, squares.size(),
      [](void* arg, std::size_t i, std::size_t) {
        (*static_cast<std::vector<int>*>(arg))[i] = static_cast<int>(i * i);
      },
      &squares);
  for (std::size_t i = 0; i < squares.size(); ++i) EXPECT_EQ(squares[i], static_cast<int>(i * i));
}

TEST(Pool, StopsWithoutEverHavingWorked) {
  for (int repeat = 0; repeat < 20; ++repeat) Pool pool(4);
}

}  // namespace
}  // namespace skim_bench
