// SPDX-License-Identifier: Apache-2.0
// A small pool of threads behind skim's Executor, as an engine would have one.
#pragma once

#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "skim/core/executor.h"

namespace skim_bench {

/// `threads` workers, of which the caller is number 0. Between jobs a worker spins for a moment, so that calls
/// in quick succession do not wait for the kernel, and then sleeps. Nothing is pinned. One job at a time.
class Pool {
 public:
  explicit Pool(std::size_t threads) {
    for (std::size_t worker = 1; worker < threads; ++worker)
      threads_.emplace_back([this, worker] { serve(worker); });
  }
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() {
    stop_ = true;
    wake();
    for (std::thread& thread : threads_) thread.join();
  }

  std::size_t threads() const { return threads_.size() + 1; }

  skim::Executor executor() {
    if (threads_.empty()) return {};
    return {threads(),
            [](void* pool, std::size_t tasks, skim::Executor::Task task, void* arg) {
              static_cast<Pool*>(pool)->run(tasks, task, arg);
            },
            this};
  }

  /// Calls task(i, worker) for i in [0, tasks) and returns when all are done.
  template <class Task>
  void each(std::size_t tasks, const Task& task) {
    run(
        tasks,
        [](void* arg, std::size_t i, std::size_t worker) {
          (*static_cast<const Task*>(arg))(i, worker);
        },
        const_cast<void*>(static_cast<const void*>(&task)));
  }

 private:
  static constexpr int kSpins = 2000;

  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }

  void run(std::size_t tasks, skim::Executor::Task task, void* arg) {
    tasks_ = tasks;
    task_ = task;
    arg_ = arg;
    next_.store(0, std::memory_order_relaxed);
    busy_.store(threads_.size(), std::memory_order_relaxed);
    wake();
    work(0);
    for (int spins = 0; busy_.load(std::memory_order_acquire) != 0; ++spins) {
      spins < kSpins ? pause() : std::this_thread::yield();
    }
  }

  void wake() {
    jobs_.fetch_add(1, std::memory_order_release);
    jobs_.notify_all();
  }

  void work(std::size_t worker) {
    for (std::size_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;)
      task_(arg_, i, worker);
  }

  void serve(std::size_t worker) {
    for (std::size_t seen = 0;;) {
      for (int spins = 0; spins < kSpins && jobs_.load(std::memory_order_acquire) == seen; ++spins)
        pause();
      jobs_.wait(seen, std::memory_order_acquire);
      ++seen;  // one job at a time: none is skipped
      if (stop_) return;
      work(worker);
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::vector<std::thread> threads_;
  std::atomic<std::size_t> jobs_{0};
  std::atomic<std::size_t> next_{0};
  std::atomic<std::size_t> busy_{0};
  std::atomic<bool> stop_{false};
  std::size_t tasks_ = 0;
  skim::Executor::Task task_ = nullptr;
  void* arg_ = nullptr;
};

}  // namespace skim_bench
