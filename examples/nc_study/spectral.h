// SPDX-License-Identifier: Apache-2.0
// The error of the n^C paper: of the attention matrix as a whole.
#pragma once

#include <span>
#include <vector>

#include "layer.h"
#include "rule.h"

namespace nc {

/// (1/n) |D_spar^-1 A_spar - D^-1 A|_2, the largest singular value over n, for each rule. By power
/// iteration on E^T E from a fixed start until a step changes it by less than 1e-4 (at most 200
/// steps), so it is an estimate from below, good to about a percent. Holds the n x n matrix in
/// memory.
std::vector<double> spectral_errors(const Layer& layer, std::span<const Rule> rules, bool is_causal);

}  // namespace nc
