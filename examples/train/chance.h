// SPDX-License-Identifier: Apache-2.0
// Random choices that are the same everywhere: the standard's generators agree between libraries,
// its distributions and std::shuffle do not.
#pragma once

#include <cstddef>
#include <random>
#include <utility>
#include <vector>

namespace train {

using Random = std::mt19937_64;

/// One of 0 to n - 1. The remainder favours small numbers by n / 2^64, which nobody will ever see.
inline std::size_t below(std::size_t n, Random& random) {
  return static_cast<std::size_t>(random() % n);
}

/// Fisher and Yates: every order is equally likely.
template <class T>
void shuffle(std::vector<T>& values, Random& random) {
  for (std::size_t left = values.size(); left > 1; --left) {
    std::swap(values[left - 1], values[below(left, random)]);
  }
}

}  // namespace train
