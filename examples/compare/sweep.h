// SPDX-License-Identifier: Apache-2.0
// Who wins where: every method on workloads from flat to peaked logits and from values that do not
// depend on the scores to values that do.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "evaluate.h"
#include "report.h"
#include "synthetic_problem.h"

namespace compare {

inline constexpr double kSpreads[] = {0.5, 1.5, 3};
inline constexpr double kCorrelations[] = {0, 0.3, 1};
/// Only here is time measured: it does not depend on what the values are.
inline constexpr double kTimedCorrelation = 0.3;

struct SweepPoint {
  double spread = 0;
  double correlation = 0;
  Problem problem;  // without its heads, which are large
  std::vector<Result> results;
};

/// The other knobs are those of `settings`. 0 rounds: no times.
std::vector<SweepPoint> run_sweep(const SyntheticSettings& settings, std::span<const Run> runs,
                                  const Settings& how, std::size_t rounds);

/// Markdown tables on stdout: the winner of each workload and share against the best of the other
/// kind, the median error of every method and, when timed, its speed against dense.
void print_sweep(std::span<const SweepPoint> points, std::span<const double> shares);

/// One panel a workload: median error against positions attended to.
void plot_sweep(const std::filesystem::path& path, std::span<const SweepPoint> points,
                const std::string& title);

}  // namespace compare
