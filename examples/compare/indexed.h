// SPDX-License-Identifier: Apache-2.0
// What an index buys: error against time and against bytes read, methods with an index beside methods without one.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "evaluate.h"
#include "recall.h"
#include "report.h"
#include "synthetic_problem.h"

namespace compare {

/// The methods that `--indexed` compares. A new one is a line.
std::vector<Method> indexed_methods();

/// The workloads: spread x correlation, channels far from zero, clusters.
std::vector<skim_bench::Workload> indexed_workloads();

struct IndexedPoint {
  std::string title;
  std::vector<Result> results;
  std::vector<RecallOn> recalls;
};

/// Keys and values in bfloat16. 0 rounds: no times. Recalls are measured with sketches in segments of `segments`; none:
/// not at all.
IndexedPoint measure_indexed(const std::string& title, Problem problem, std::span<const Run> runs, const Settings& how,
                             std::size_t rounds, const std::vector<std::size_t>& segments);

/// Markdown on stdout: recall; the best method within each limit of time and of bytes; errors, speeds and bytes of all.
void print_indexed(std::span<const IndexedPoint> points, std::span<const double> shares);

/// For each workload error against bytes and, when timed, error against time.
void plot_indexed(const std::filesystem::path& path, std::span<const IndexedPoint> points, const std::string& title);

}  // namespace compare
