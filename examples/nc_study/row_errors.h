// SPDX-License-Identifier: Apache-2.0
// The error of top-k attention, row by row.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "layer.h"
#include "metric.h"
#include "rule.h"

namespace nc {

/// The metrics but the spectral one of every rule, means over `rows` of the layer. The sets and the
/// outputs are skim's, what they are compared with is computed in double precision.
std::vector<Errors> row_errors(const Layer& layer, std::span<const Rule> rules,
                               std::span<const std::size_t> rows, bool is_causal);

}  // namespace nc
