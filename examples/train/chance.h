// SPDX-License-Identifier: Apache-2.0
// Random choices that are the same everywhere: the standard's generators agree between libraries,
// its distributions and std::shuffle do not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace train {

using Random = std::mt19937_64;

/// splitmix64: neighbours have nothing in common any more.
inline std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

/// The random numbers of text `index` of step `step`: a run that resumes needs no state of a generator.
inline Random random_of(std::uint64_t seed, std::uint64_t step, std::uint64_t index) {
  return Random(mix(mix(mix(seed) ^ step) ^ index));
}

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
