// SPDX-License-Identifier: Apache-2.0
// Attention in double precision on the unquantised synthetic data: what errors are measured against.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
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

/// out[0, d) = attention of query row q over `count` positions of `head`; position(j) is the j-th of them.
template <class PositionOf>
void exact_attention(const SyntheticHead& head, const float* q, std::size_t count,
                     const PositionOf& position, double* out) {
  const std::size_t d = head.d;
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  std::vector<double> s(count);
  for (std::size_t j = 0; j < count; ++j)
    s[j] = scale * reference_detail::wide_dot(q, head.key(position(j)), d);
  const double most = count == 0 ? 0 : *std::max_element(s.begin(), s.end());
  double sum = 0;
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
inline double relative_l2(const float* out, const double* exact, std::size_t d) {
  double squares = 0, norm = 0;
  for (std::size_t c = 0; c < d; ++c) {
    const double difference = static_cast<double>(out[c]) - exact[c];
    squares += difference * difference;
    norm += exact[c] * exact[c];
  }
  return std::sqrt(squares / norm);
}

}  // namespace skim_bench
