// SPDX-License-Identifier: Apache-2.0
// Attention in double precision on the unquantised synthetic data: what errors are measured against.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "bench/synthetic.h"

namespace skim_bench {

namespace reference_detail {

inline double wide_dot(const float* a, const float* b, std::size_t d) {
  double sum[8] = {};
  std::size_t c = 0;
  for (; c + 8 <= d; c += 8) {
    for (std::size_t j = 0; j < 8; ++j)
      sum[j] += static_cast<double>(a[c + j]) * static_cast<double>(b[c + j]);
  }
  double total = 0;
  for (const double part : sum) total += part;
  for (; c < d; ++c) total += static_cast<double>(a[c]) * static_cast<double>(b[c]);
  return total;
}

}  // namespace reference_detail

/// What a query and a key become, and what else the denominator holds. As it stands: plain attention.
struct ExactRule {
  double scale = 0;        ///< 0: 1/sqrt(d)
  double soft_cap = 0;     ///< 0: none
  double alibi_slope = 0;  ///< times the distance to `position`
  std::size_t position = 0;
  double sink_logit = -std::numeric_limits<double>::infinity();

  double logit(double dot, std::size_t d, std::size_t at) const {
    double s = dot * (scale == 0 ? 1 / std::sqrt(static_cast<double>(d)) : scale);
    if (soft_cap != 0) s = soft_cap * std::tanh(s / soft_cap);
    if (alibi_slope != 0)
      s -= alibi_slope * std::abs(static_cast<double>(position) - static_cast<double>(at));
    return s;
  }
};

/// out[0, d) = attention of query row q over `count` positions of `head`; position(j) is the j-th of them.
template <class PositionOf>
void exact_attention(const SyntheticHead& head, const float* q, std::size_t count,
                     const PositionOf& position, double* out, const ExactRule& rule = {}) {
  const std::size_t d = head.d;
  std::vector<double> s(count);
  for (std::size_t j = 0; j < count; ++j)
    s[j] = rule.logit(reference_detail::wide_dot(q, head.key(position(j)), d), d, position(j));
  const double most = count == 0 ? 0 : *std::max_element(s.begin(), s.end());
  double sum = std::exp(rule.sink_logit - most);
  std::fill_n(out, d, 0.0);
  for (std::size_t j = 0; j < count; ++j) {
    const double weight = std::exp(s[j] - most);
    const float* value = head.value(position(j));
    sum += weight;
    for (std::size_t c = 0; c < d; ++c) out[c] += weight * static_cast<double>(value[c]);
  }
  for (std::size_t c = 0; c < d && sum > 0; ++c) out[c] /= sum;
}

/// |out - exact| / |exact|.
template <class Real>
double relative_l2(const Real* out, const double* exact, std::size_t d) {
  double squares = 0, norm = 0;
  for (std::size_t c = 0; c < d; ++c) {
    const double difference = static_cast<double>(out[c]) - exact[c];
    squares += difference * difference;
    norm += exact[c] * exact[c];
  }
  return std::sqrt(squares / norm);
}

}  // namespace skim_bench
