// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "compare/table.h"

namespace nc {

/// A mean over independent draws with the half-width of its 95 % confidence interval, 1.96 standard
/// errors.
struct Estimate {
  double mean = 0;
  double half_width = 0;
};

inline Estimate estimate(const std::vector<double>& samples) {
  const auto n = static_cast<double>(samples.size());
  double mean = 0, variance = 0;
  for (const double x : samples) mean += x / n;
  for (const double x : samples) variance += (x - mean) * (x - mean) / (n - 1);
  return {mean, 1.96 * std::sqrt(variance / n)};
}

inline std::string text_of(const Estimate& e) {
  return table::short_number(e.mean) + " ± " + table::short_number(e.half_width, 2);
}

/// The slope of ln y against ln x by least squares: the exponent of a power law.
inline double exponent(const std::vector<double>& x, const std::vector<double>& y) {
  const auto n = static_cast<double>(x.size());
  double mean_x = 0, mean_y = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    mean_x += std::log(x[i]) / n;
    mean_y += std::log(y[i]) / n;
  }
  double xy = 0, xx = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (std::log(x[i]) - mean_x) * (std::log(y[i]) - mean_y);
    xx += (std::log(x[i]) - mean_x) * (std::log(x[i]) - mean_x);
  }
  return xy / xx;
}

}  // namespace nc
