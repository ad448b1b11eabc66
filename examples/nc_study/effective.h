// SPDX-License-Identifier: Apache-2.0
// How many entries of a row matter: |S_eps|.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "softmax_row.h"

namespace nc {

/// The share of a row's entries that are at most a threshold, |S_eps| / n, mean over `rows` full
/// rows; one for each threshold. The layer's logits are multiplied by `r`. (The paper's figure 1
/// draws "the fraction of ineffective entries"; whether its threshold applies before or after
/// normalisation is not known to us. Here: after.)
inline std::vector<double> ineffective_share(const Layer& layer, double r,
                                             std::span<const double> thresholds,
                                             std::span<const std::size_t> rows) {
  std::vector<double> shares(thresholds.size());
  for (const std::size_t row : rows) {
    const std::vector<double> p = softmax_row(layer, row, false, r);
    for (std::size_t t = 0; t < thresholds.size(); ++t) {
      const auto below =
          std::count_if(p.begin(), p.end(), [&](double x) { return x <= thresholds[t]; });
      shares[t] += static_cast<double>(below) / static_cast<double>(p.size() * rows.size());
    }
  }
  return shares;
}

}  // namespace nc
