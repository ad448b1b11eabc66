// SPDX-License-Identifier: Apache-2.0
// What the suites of skim_bench share: settings, the yardsticks and the way a case becomes a benchmark.
#pragma once

#include <benchmark/benchmark.h>

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
void register_select();
void register_gather();

/// Registers `run(state, case)`. Its loop body times all rounds of one benchmark, so that Google Benchmark has
/// one iteration, whose time is the median of one call.
template <class Run>
void register_case(const Case& c, const Run& run) {
  benchmark::RegisterBenchmark(c.name().c_str(), [c, run](benchmark::State& state) {
    try {
      run(state, c);
    } catch (const std::exception& error) {
      state.SkipWithError(error.what());
    }
  })->UseManualTime()->Unit(benchmark::kMillisecond);
}

inline Contestant read_loop(Pool& pool) {
  Machine::read_loop();  // made before the clock runs
  return {"read", [&pool] { Machine::read_loop().run(pool); }};
}

/// Runs the contestants. Before each call caches are emptied, or, in a warm case, filled by the same call.
inline Rounds compete(const Case& c, std::vector<Contestant> field) {
  Pool& pool = Machine::pool(c.threads);
  const auto prepare = [&](const Contestant& next) { c.warm ? next.run() : Machine::flush(pool); };
  return {std::move(field), prepare, settings.patience};
}

/// The bandwidth of "this", which reads `bytes`, over that of "read".
inline double read_fraction(const Rounds& rounds, double bytes) {
  return bytes / static_cast<double>(Machine::read_loop().bytes()) * rounds.ratio("read", "this");
}

/// What every case tells besides its own figures: for orientation, and to see a noisy run.
inline void report_rounds(benchmark::State& state, const Rounds& rounds) {
  state.SetIterationTime(rounds.seconds("this"));
  state.counters["rounds"] = static_cast<double>(rounds.count());
  if (rounds.has("read")) {
    state.counters["read_GB/s"] = static_cast<double>(Machine::read_loop().bytes()) / rounds.seconds("read") * 1e-9;
  }
}

inline void report_errors(benchmark::State& state, const std::vector<double>& errors) {
  state.counters["rel_l2"] = median(errors);
  state.counters["rel_l2_worst"] = *std::max_element(errors.begin(), errors.end());
}

}  // namespace skim_bench
