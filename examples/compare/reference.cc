// SPDX-License-Identifier: Apache-2.0
#include "reference.h"

#include <algorithm>
#include <cmath>

namespace compare {

Reference::Reference(const KvHead& kv, const Ask& ask, std::size_t row)
    : weights(static_cast<std::size_t>(ask.position) + 1), out(kv.d, 0.0) {
  const float* q = ask.rows.data() + row * kv.d;
  const double scale = 1 / std::sqrt(static_cast<double>(kv.d));
  for (std::size_t i = 0; i < weights.size(); ++i) {
    double dot = 0;
    for (std::size_t c = 0; c < kv.d; ++c) dot += static_cast<double>(q[c]) * kv.keys[i * kv.d + c];
    weights[i] = scale * dot;
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& w : weights) sum += w = std::exp(w - largest);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    weights[i] /= sum;
    for (std::size_t c = 0; c < kv.d; ++c) out[c] += weights[i] * kv.values[i * kv.d + c];
  }
}

double Reference::error(std::span<const float> approximate) const {
  double difference = 0, norm = 0;
  for (std::size_t c = 0; c < out.size(); ++c) {
    difference += (approximate[c] - out[c]) * (approximate[c] - out[c]);
    norm += out[c] * out[c];
  }
  return std::sqrt(difference / norm);
}

double Reference::variation(const skim::Selection& selection) const {
  const auto for_each = [&](const auto& visit) {
    for (const skim::Span span : selection.spans()) {
      for (skim::Position i = span.first; i < span.last; ++i)
        visit(weights[static_cast<std::size_t>(i)], 1.0);
    }
    for (const skim::Pick& pick : selection.picks()) {
      visit(weights[static_cast<std::size_t>(pick.position)], std::exp(pick.log_weight));
    }
  };
  double total = 0;
  for_each([&](double exact, double factor) { total += exact * factor; });
  if (total == 0) return 1;  // nothing selected
  double selected = 0, sum = 0;
  for_each([&](double exact, double factor) {
    selected += exact;
    sum += std::abs(exact * factor / total - exact);
  });
  return (sum + std::max(0.0, 1 - selected)) / 2;
}

}  // namespace compare
