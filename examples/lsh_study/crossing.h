// SPDX-License-Identifier: Apache-2.0
// The source's comparison: top-k against sampling from the softmax against LSH sampling, over budgets.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "compare/evaluate.h"
#include "data.h"

namespace lsh {

/// Errors on one kind of keys and values.
struct Curves {
  std::string title;
  struct Point {
    double budget = 0;  // of the positions, such as draws of oracle sampling; of LSH what it reads
    double values_read = 0;
    double error = 0;     // median over heads
    std::string setting;  // of LSH: "(10,150)"
  };
  struct Curve {
    std::string method;
    std::vector<Point> points;  // by values read
  };
  std::vector<Curve> curves;
};

/// The correlations of the sweep.
inline constexpr double kCorrelations[] = {0, 0.1, 0.3, 1};

/// bits and tables of the LSH curve, from little to much.
inline constexpr Budget kLshCurve[] = {{10, 75, 0}, {12, 300, 0}, {10, 150, 0}, {9, 120, 0}, {8, 75, 0},
                                       {8, 150, 0},  {7, 120, 0}, {7, 180, 0},  {7, 300, 0}};

/// One problem. LSH is skim's, with `seeds` of the planes.
Curves measure_curves(const std::string& title, const compare::Problem& problem, const compare::Settings& how);

/// Markdown on stdout: where the error of top-k falls below that of a method that samples; and errors at what LSH reads.
void print_crossings(std::span<const Curves> all);

void plot_crossings(const std::filesystem::path& path, std::span<const Curves> all, const std::string& title);

}  // namespace lsh
