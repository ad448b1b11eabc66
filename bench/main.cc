// SPDX-License-Identifier: Apache-2.0
// skim_bench: how fast and how exact, each figure beside its yardstick. See bench/rounds.h for the method.
//
//   skim_bench --benchmark_filter='^decode/topk-1pct/f32/heads:32x32/n:131072'
//
// Names are SUITE/WHAT/DTYPE[/heads:HqxHkv]/n:N[/d:D][/w:WORKLOAD][/warm]/threads:T. Time is that of one call,
// median of the rounds. All data is synthetic (bench/workload.h).
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/blas.h"
#include "bench/suite.h"

namespace {

constexpr char kHelp[] =
    "skim_bench options beside those of Google Benchmark (--help shows them all):\n"
    "  --rounds=N   so many rounds of each comparison; default: what fits in 2 s, 5 to 41, or 3 slow "
    "ones\n"
    "  --quick      three rounds: shows that it runs, not how fast\n\n";

/// Takes our own options out of the arguments; false when one is wrong.
bool read_options(std::vector<char*>& args) {
  std::vector<char*> rest;
  for (char* arg : args) {
    const std::string text = arg;
    if (text == "--quick") {
      skim_bench::settings.patience.rounds = 3;
    } else if (text.rfind("--rounds=", 0) == 0) {
      char* end = nullptr;
      skim_bench::settings.patience.rounds = std::strtoul(arg + 9, &end, 10);
      if (*end != '\0' || skim_bench::settings.patience.rounds == 0) return false;
    } else {
      if (text == "--help") std::fputs(kHelp, stdout);
      rest.push_back(arg);
    }
  }
  args = rest;
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string refusal = skim_bench::reason_to_refuse();
  if (!refusal.empty()) {
    std::fprintf(stderr, "skim_bench: %s\n", refusal.c_str());
    return 1;
  }
  skim_bench::insist_on_best_kernels(argv);
  std::vector<char*> args(argv, argv + argc);
  if (!read_options(args)) {
    std::fprintf(stderr, "skim_bench: --rounds needs a number above 0\n");
    return 1;
  }
  // A benchmark times all its rounds in one iteration, so one iteration is enough. Later arguments win.
  char once[] = "--benchmark_min_time=0", columns[] = "--benchmark_counters_tabular=true";
  args.insert(args.begin() + 1, {once, columns});
  args.push_back(nullptr);
  int count = static_cast<int>(args.size()) - 1;
  benchmark::Initialize(&count, args.data());
  if (benchmark::ReportUnrecognizedArguments(count, args.data())) return 1;

  skim_bench::add_machine_context();
  benchmark::AddCustomContext("data", "synthetic");
  benchmark::AddCustomContext("OpenBLAS", skim_bench::blas_text());
  skim_bench::register_decode();
  skim_bench::register_prefill();
  skim_bench::register_backward();
  skim_bench::register_select();
  skim_bench::register_gather();
  skim_bench::register_kernel();
  skim_bench::register_reading();
  skim_bench::register_index();
  skim_bench::register_lsh();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
