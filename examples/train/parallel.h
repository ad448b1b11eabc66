// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace train {

/// Calls task(i, worker) for each i in [0, count) on `threads` threads, of which `worker` is the number.
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

}  // namespace train
