// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "llama.h"
#include "tokenizer.h"

namespace engine {

/// The likeliest token, the lowest of equals.
inline Token most_likely(const Vector& logits) {
  Eigen::Index best = 0;
  for (Eigen::Index i = 1; i < logits.size(); ++i) {
    if (logits[i] > logits[best]) best = i;
  }
  return static_cast<Token>(best);
}

/// A token drawn from softmax(logits / temperature); at temperature 0 the likeliest.
/// The standard's distributions differ between libraries, its generators do not: equal seeds give
/// equal texts everywhere.
inline Token sample(const Vector& logits, float temperature, std::mt19937_64& random) {
  const Token best = most_likely(logits);
  if (temperature == 0) return best;
  std::vector<double> shares(logits.begin(), logits.end());
  double sum = 0;
  for (double& x : shares) sum += x = std::exp((x - logits[best]) / temperature);
  double rest = sum * static_cast<double>(random() >> 11) * 0x1p-53;  // uniform in [0, sum)
  for (std::size_t i = 0; i < shares.size(); ++i) {
    rest -= shares[i];
    if (rest < 0) return static_cast<Token>(i);
  }
  return best;  // rounding, or logits that are not numbers
}

}  // namespace engine
