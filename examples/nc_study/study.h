// SPDX-License-Identifier: Apache-2.0
// The three experiments.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "metric.h"
#include "rule.h"

namespace nc {

struct Plan {
  std::size_t d = 64;
  double r = 1;  // |W|_F with entries of X of unit size, and the standard deviation of a row's logits
  std::size_t k = 64;
  std::vector<std::size_t> lengths;   // ascending
  std::size_t draws = 12;             // of X and W, independent
  std::size_t rows = 64;              // of a draw, evenly spaced, for the metrics of rows
  std::size_t longest_matrix = 8192;  // the spectral norm needs all n x n entries
  std::size_t matrix_draws = 5;
  std::vector<std::size_t> effective_lengths;
  std::size_t effective_draws = 4;
  std::uint64_t seed = 1;
};

/// Values of one metric at one length: one a draw, none when it was not measured.
using Samples = std::array<std::vector<double>, kMetrics>;

struct Curve {
  Rule rule;                 // at the longest length
  std::vector<Samples> at;   // [lengths]
  std::vector<double> keys;  // [lengths], that a row keeps, mean over rows
};

/// Called when a part of the work is done, out of parts(plan).
using OnPart = std::function<void(std::size_t done)>;
std::size_t parts(const Plan& plan);

struct Findings {
  std::vector<Curve> growth;      // full rows: growth_rules(k, shortest length)
  std::vector<Curve> equal_cost;  // causal rows: equal_cost_rules(k, n)
  double worst_variation_gap =
      0;  // largest |measured - Gaussian theory| of the total variation, full rows

  struct Effective {
    double r = 0;
    double epsilon = 0;                        // 0: 1/n
    std::vector<std::vector<double>> samples;  // [effective lengths][draws] of |S_eps| / n
  };
  std::vector<Effective> effective;
};

Findings run_study(const Plan& plan, const OnPart& on_part);

}  // namespace nc
