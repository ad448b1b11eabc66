// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace nc {

/// Calls task(i) for each i in [0, count) on the machine's threads. What a task computes depends on
/// i alone.
template <class Task>
void for_each_parallel(std::size_t count, const Task& task) {
  std::atomic<std::size_t> next = 0;
  std::exception_ptr error;
  std::atomic<bool> has_failed = false;
  const auto work = [&] {
    try {
      for (std::size_t i = next++; i < count && !has_failed; i = next++) task(i);
    } catch (...) {
      if (!has_failed.exchange(true)) error = std::current_exception();
    }
  };
  std::vector<std::jthread> threads;
  for (std::size_t t = 1; t < std::min<std::size_t>(count, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back(work);
  }
  work();
  threads.clear();  // joins
  if (error) std::rethrow_exception(error);
}

}  // namespace nc
