// SPDX-License-Identifier: Apache-2.0
// What the suites of skim_bench share: settings, the yardsticks and the way a case becomes a benchmark.
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <exception>
#include <string>
#include <vector>

#include "bench/machine.h"
#include "bench/rounds.h"
#include "bench/sweep.h"

namespace skim_bench {

/// From the command line: --rounds=N, --quick.
struct Settings {
  Patience patience{};
};
inline Settings settings;

/// Each suite registers its own.
void register_decode();
void register_prefill();
void register_backward();
void register_select();
void register_gather();
void register_kernel();
void register_reading();
void register_index();
void register_lsh();

/// Registers `run(state, case)`. Its loop body times all rounds of one benchmark, so that Google Benchmark has
/// one iteration, whose time is the median of one call.
template <class Run>
void register_case(const Case& c, const Run& run) {
  benchmark::RegisterBenchmark(c.name().c_str(),
                               [c, run](benchmark::State& state) {
                                 try {
                                   run(state, c);
                                 } catch (const std::exception& error) {
                                   state.SkipWithError(error.what());
                                 }
                               })
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

inline std::size_t read_loop_bytes(double bytes) {
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  return std::clamp(static_cast<std::size_t>(bytes) / kMiB * kMiB, 4 * kMiB,
                    Machine::read_loop().bytes());
}

/// A contestant, "read", that only reads: as many bytes as the call it is a yardstick for (4 to 512 MiB), so
/// that both are as likely to be interrupted on a machine that others use. Cold by itself.
inline Contestant read_loop(Pool& pool, double bytes) {
  ReadLoop& loop = Machine::read_loop();  // made before the clock runs
  const std::size_t size = read_loop_bytes(bytes);
  return {"read", [&pool, &loop, size] { loop.run(pool, size); }};
}

/// Runs the contestants. Before each call caches are emptied, or, in a warm case, filled by the same call.
inline Rounds compete(const Case& c, std::vector<Contestant> field) {
  Pool& pool = Machine::pool(c.threads);
  const auto prepare = [&](const Contestant& next) { c.warm ? next.run() : Machine::flush(pool); };
  Machine::flush(pool);  // once more, for the first time it is asked it makes what it reads
  return {std::move(field), prepare, settings.patience, c.threads};
}

/// What every case tells besides its own figures: for orientation, and to see a noisy run.
inline void report_rounds(benchmark::State& state, const Rounds& rounds) {
  state.SetIterationTime(rounds.seconds("this"));
  state.counters["rounds"] = static_cast<double>(rounds.count());
  state.counters["off_cpu"] = rounds.off_cpu();
}

/// The bandwidth of "this", which reads `bytes`, as a share of that of "read".
inline void report_read_fraction(benchmark::State& state, const Rounds& rounds, double bytes) {
  if (!rounds.has("read")) return;
  const auto loop = static_cast<double>(read_loop_bytes(bytes));
  state.counters["read_fraction"] = bytes / loop * rounds.ratio("read", "this");
  state.counters["read_GB/s"] = loop / rounds.seconds("read") * 1e-9;
}

inline void report_errors(benchmark::State& state, const std::vector<double>& errors) {
  state.counters["rel_l2"] = median(errors);
  state.counters["rel_l2_worst"] = *std::max_element(errors.begin(), errors.end());
}

}  // namespace skim_bench
