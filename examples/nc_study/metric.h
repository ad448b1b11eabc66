// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>

namespace nc {

/// What "the error" can mean. p is a row of the attention matrix, p^ what top-k makes of it.
enum Metric : std::size_t {
  kSpectral,           ///< (1/n) |P^ - P|_2 of the whole matrix: the metric of the n^C paper
  kRowL2,              ///< |p^ - p|_2, mean over rows
  kVariation,          ///< total variation distance of p^ and p: the dropped mass; mean over rows
  kOutputIndependent,  ///< |o^ - o| / |o|, values that are independent of everything; mean over rows
  kOutputTokens,       ///< the same with values X W_V
  kMetrics,
};

inline constexpr const char* kMetricNames[] = {"(1/n) spectral norm", "row l2", "total variation",
                                               "output, values independent", "output, values X W_V"};

using Errors = std::array<double, kMetrics>;

}  // namespace nc
