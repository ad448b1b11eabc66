// SPDX-License-Identifier: Apache-2.0
// What people see: the table, the CSV file, the figure.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "evaluate.h"
#include "problem.h"

namespace compare {

/// A run and what came out of it. Without an accuracy it was not possible.
struct Result {
  Run run;
  std::optional<Accuracy> accuracy;
  std::optional<Speed> speed;
};

/// A markdown table on stdout.
void print_results(std::span<const Result> results);

/// Says under a table how its times were taken; nothing when there are none.
void print_how_timed(std::span<const Speed> speeds);

/// The lines of a CSV file: its head, and those of the results of one problem.
std::string csv_head();
std::string csv_lines(const std::string& problem, std::span<const Result> results);

/// Error against what is read and, when timed, error against time.
void plot_results(const std::filesystem::path& path, const Problem& problem,
                  std::span<const Result> results);

}  // namespace compare
