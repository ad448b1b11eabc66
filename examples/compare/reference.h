// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include <skim/core/selection.h>

#include "problem.h"

namespace compare {

/// Exact attention of one query row, in double precision.
struct Reference {
  std::vector<double> weights;  // [visible], softmax of the logits
  std::vector<double> out;      // [d]

  Reference(const KvHead& kv, const Ask& ask, std::size_t row);

  /// |out - exact| / |exact|, the relative l2 error.
  double error(std::span<const float> approximate) const;

  /// Total variation distance from the exact weights to those a selection gives: half the sum over all
  /// positions of |w_i e^{s_i} / sum w e^s - pi_i|.
  double variation(const skim::Selection& selection) const;
};

}  // namespace compare
