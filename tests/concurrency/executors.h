// SPDX-License-Identifier: Apache-2.0
// Every kind of executor: the caller's own thread, real threads, OpenMP's.
#ifndef SKIM_TESTS_CONCURRENCY_EXECUTORS_H_
#define SKIM_TESTS_CONCURRENCY_EXECUTORS_H_

#include <string>
#include <vector>

#include "skim/openmp.h"
#include "support/threads.h"

namespace skim::test {

struct NamedExecutor {
  std::string name;
  Executor executor;
};

inline std::vector<NamedExecutor> every_executor() {
  return {{"serial", {}}, {"two threads", real_threads(2)}, {"three threads", real_threads(3)}, {"OpenMP", openmp(2)}};
}

}  // namespace skim::test

#endif  // SKIM_TESTS_CONCURRENCY_EXECUTORS_H_
