// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace engine {

/// As many as the machine runs at once.
inline std::size_t machine_threads() { return std::max(1u, std::thread::hardware_concurrency()); }

/// Calls task(i, worker) for each i in [0, count) on `threads` threads, of which `worker` is the number. What
/// a task throws is thrown here, and no more are begun.
template <class Task>
void for_each_parallel(std::size_t count, std::size_t threads, const Task& task) {
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> has_failed = false;
  std::exception_ptr error;
  const auto work = [&](std::size_t worker) {
    try {
      for (std::size_t i = next++; i < count && !has_failed; i = next++) task(i, worker);
    } catch (...) {
      if (!has_failed.exchange(true)) error = std::current_exception();
    }
  };
  std::vector<std::jthread> others;
  for (std::size_t t = 1; t < std::min(count, threads); ++t) others.emplace_back(work, t);
  work(0);
  others.clear();  // joins
  if (error) std::rethrow_exception(error);
}

}  // namespace engine
