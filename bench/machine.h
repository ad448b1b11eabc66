// SPDX-License-Identifier: Apache-2.0
// The yardsticks of the machine: how fast it reads, and how its caches are emptied.
#pragma once

#include <cstddef>
#include <string>

#include "bench/memory.h"
#include "bench/pool.h"

namespace skim_bench {

/// Bytes of the last-level cache that a core of ours can use; 32 MiB when the kernel does not say.
std::size_t last_level_cache();

/// Memory that is read for no other reason than to be read, by all threads of a pool, each its own part.
class ReadLoop {
 public:
  explicit ReadLoop(std::size_t bytes) : memory_(touched_memory(bytes, true)) {}

  std::size_t bytes() const { return memory_.size(); }

  /// A plain sequential sum with eight accumulators, without software prefetch, over the next `bytes` (at
  /// most all) of the memory: those that were read longest ago.
  void run(Pool& pool, std::size_t bytes);

 private:
  skim::Arena memory_;
  std::size_t next_ = 0;
  float sum_ = 0;
};

/// What several benchmarks share, made when first asked for.
struct Machine {
  /// More than four times the last-level cache.
  static ReadLoop& read_loop();
  /// Reads other memory until nothing a benchmark has touched is cached.
  static void flush(Pool& pool);
  /// The pool of so many threads.
  static Pool& pool(std::size_t threads);
};

/// Why this build or machine cannot measure anything worth reading, or "".
std::string reason_to_refuse();

/// Puts the target, compiler, flags and memory into the head of the report.
void add_machine_context();

}  // namespace skim_bench
