// SPDX-License-Identifier: Apache-2.0
// Who runs the tasks? Executors that a test wants.
#ifndef SKIM_TESTS_SUPPORT_THREADS_H_
#define SKIM_TESTS_SUPPORT_THREADS_H_

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "skim/core/executor.h"

namespace skim::test {

/// Real threads, started for each run.
inline Executor real_threads(std::size_t threads) {
  Executor executor;
  executor.threads = threads;
  executor.pool = reinterpret_cast<void*>(threads);
  executor.run = [](void* pool, std::size_t tasks, Executor::Task task, void* arg) {
    std::atomic<std::size_t> next{0};
    std::vector<std::thread> workers;
    for (std::size_t worker = 0; worker < reinterpret_cast<std::size_t>(pool); ++worker) {
      workers.emplace_back([&next, tasks, task, arg, worker] {
        for (std::size_t i = next++; i < tasks; i = next++) task(arg, i, worker);
      });
    }
    for (std::thread& worker : workers) worker.join();
  };
  return executor;
}

/// The last task first, on workers that take turns, all in this thread: another order than the serial
/// one, and nothing is allocated.
inline Executor backwards(std::size_t threads) {
  Executor executor;
  executor.threads = threads;
  executor.pool = reinterpret_cast<void*>(threads);
  executor.run = [](void* pool, std::size_t tasks, Executor::Task task, void* arg) {
    for (std::size_t i = tasks; i-- > 0;) task(arg, i, i % reinterpret_cast<std::size_t>(pool));
  };
  return executor;
}

}  // namespace skim::test

#endif  // SKIM_TESTS_SUPPORT_THREADS_H_
