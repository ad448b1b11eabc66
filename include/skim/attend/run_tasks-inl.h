// SPDX-License-Identifier: Apache-2.0
// The executor, for tasks that may throw.
#if defined(SKIM_ATTEND_RUN_TASKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ATTEND_RUN_TASKS_INL_H_
#undef SKIM_ATTEND_RUN_TASKS_INL_H_
#else
#define SKIM_ATTEND_RUN_TASKS_INL_H_
#endif

#include <atomic>
#include <cstddef>
#include <exception>

#include "skim/core/executor.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Runs task(i, worker) for each i on the executor, and throws here what a task has thrown.
template <class Task>
void run_tasks(const Executor& executor, std::size_t tasks, const Task& task) {
  if (executor.run == nullptr) {
    for (std::size_t i = 0; i < tasks; ++i) task(i, std::size_t{0});
    return;
  }
#if defined(__cpp_exceptions)
  struct Shared {
    const Task& task;
    std::atomic<bool> failed{false};
    std::exception_ptr error{};
  } shared{task};
  executor.run(
      executor.pool, tasks,
      [](void* arg, std::size_t i, std::size_t worker) {
        auto& all = *static_cast<Shared*>(arg);
        try {
          all.task(i, worker);
        } catch (...) {
          if (!all.failed.exchange(true)) all.error = std::current_exception();
        }
      },
      &shared);
  if (shared.error) std::rethrow_exception(shared.error);
#else
  executor.run(
      executor.pool, tasks,
      [](void* arg, std::size_t i, std::size_t worker) { (*static_cast<const Task*>(arg))(i, worker); },
      const_cast<void*>(static_cast<const void*>(&task)));
#endif
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ATTEND_RUN_TASKS_INL_H_
