// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "layer.h"

namespace nc {

/// One row of the attention matrix, exact, in double precision: [visible]. `factor` multiplies the
/// logits.
inline std::vector<double> softmax_row(const Layer& layer, std::size_t row, bool is_causal,
                                       double factor = 1) {
  const std::size_t d = layer.dim();
  std::vector<double> p(is_causal ? row + 1 : layer.size());
  const float* q = layer.queries().data() + row * d;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const float* x = layer.tokens().data() + i * d;
    double dot[4] = {};  // four sums at a time: one would wait for itself
    for (std::size_t c = 0; c < d; ++c) dot[c % 4] += static_cast<double>(q[c]) * x[c];
    p[i] = factor * (dot[0] + dot[1] + dot[2] + dot[3]);
  }
  const double largest = *std::max_element(p.begin(), p.end());
  double sum = 0;
  for (double& x : p) sum += x = std::exp(x - largest);
  for (double& x : p) x /= sum;
  return p;
}

}  // namespace nc
