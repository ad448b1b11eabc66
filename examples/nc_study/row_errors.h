// SPDX-License-Identifier: Apache-2.0
// The error of top-k attention, row by row.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "layer.h"
#include "rule.h"

namespace nc {

/// Each is a mean over rows.
enum Metric : std::size_t {
  kRowL2,              ///< |p^ - p|_2 of a row of the attention matrix
  kVariation,          ///< total variation distance of a row: the softmax mass that was dropped
  kOutputIndependent,  ///< |o^ - o| / |o| with Values::kIndependent
  kOutputTokens,       ///< the same with Values::kTokens
  kMetrics,
};

using RowErrors = std::array<double, kMetrics>;

/// Of every rule, over `rows` rows of the layer. The sets and the outputs are skim's, what they are compared
/// with is computed in double precision.
std::vector<RowErrors> row_errors(const Layer& layer, std::span<const Rule> rules, std::span<const std::size_t> rows,
                                  bool is_causal);

}  // namespace nc
