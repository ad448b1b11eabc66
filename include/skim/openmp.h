// SPDX-License-Identifier: Apache-2.0
// OpenMP's threads as an executor. The only file that knows OpenMP: compile with -fopenmp.
#ifndef SKIM_OPENMP_H_
#define SKIM_OPENMP_H_

#include <omp.h>

#include <cstddef>
#include <cstdint>

#include "skim/core/executor.h"

namespace skim::inline SKIM_ABI {

/// An executor over `threads` OpenMP threads; 0: as many as OpenMP would use.
static inline Executor openmp(int threads = 0) {
  if (threads <= 0) threads = omp_get_max_threads();
  Executor executor;
  executor.threads = static_cast<std::size_t>(threads);
  // There is no pool to point at: the pointer carries the number of threads.
  executor.pool = reinterpret_cast<void*>(static_cast<std::uintptr_t>(threads));
  executor.run = [](void* pool, std::size_t tasks, Executor::Task task, void* arg) {
    const int count = static_cast<int>(reinterpret_cast<std::uintptr_t>(pool));
#pragma omp parallel for schedule(dynamic) num_threads(count)
    for (std::size_t i = 0; i < tasks; ++i) task(arg, i, static_cast<std::size_t>(omp_get_thread_num()));
  };
  return executor;
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_OPENMP_H_
