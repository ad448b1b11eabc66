// SPDX-License-Identifier: Apache-2.0
// The caller's threads. The library starts none.
#ifndef SKIM_CORE_EXECUTOR_H_
#define SKIM_CORE_EXECUTOR_H_

#include <cstddef>

#include "skim/core/config.h"

namespace skim::inline SKIM_ABI {

/// Runs task(arg, i, worker) once for each i in [0, tasks), in any order, on any of `threads` workers,
/// and returns when all are done. `worker` is below `threads`, and no two tasks that run at the same
/// time have the same one. A task does not throw. The default runs them here, one after the other.
struct Executor {
  using Task = void (*)(void* arg, std::size_t i, std::size_t worker);
  using Run = void (*)(void* pool, std::size_t tasks, Task task, void* arg);

  std::size_t threads = 1;  ///< at least 1; more than one need `run`
  Run run = nullptr;     ///< null: serial
  void* pool = nullptr;  ///< handed to `run`
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_EXECUTOR_H_
