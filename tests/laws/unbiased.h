// SPDX-License-Identifier: Apache-2.0
// Law 6: is E[w_i 1(i chosen)] = 1 for every position a sampler stands for? Exactly: by every outcome, not by
// a sample of them. A sampler is a function of logits and uniform numbers, so its outcomes can be visited.
#ifndef SKIM_TESTS_LAWS_UNBIASED_H_
#define SKIM_TESTS_LAWS_UNBIASED_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <vector>

#include <gtest/gtest.h>

namespace skim::test {

/// A rank that was chosen, and its weight.
struct Drawn {
  std::size_t rank = 0;
  double weight = 1;
};

// ---- samplers of finitely many outcomes ------------------------------------------------------------------

/// Calls visit(digits) for every way to draw digit j from {0, ..., bounds[j] - 1}.
template <class Visit>
void for_each_outcome(const std::vector<std::size_t>& bounds, const Visit& visit) {
  std::vector<std::size_t> digits(bounds.size(), 0);
  for (;;) {
    visit(digits);
    std::size_t j = 0;
    while (j < bounds.size() && ++digits[j] == bounds[j]) digits[j++] = 0;
    if (j == bounds.size()) return;
  }
}

/// Whether the expected weight of each of n ranks is 1, when all outcomes are equally likely.
/// sample(digits) -> std::vector<Drawn>.
template <class Sample>
testing::AssertionResult is_unbiased(std::size_t n, const std::vector<std::size_t>& bounds, const Sample& sample) {
  std::vector<double> expected(n, 0);
  double outcomes = 0;
  for_each_outcome(bounds, [&](const std::vector<std::size_t>& digits) {
    outcomes += 1;
    for (const Drawn& c : sample(digits)) expected[c.rank] += c.weight;
  });
  for (std::size_t i = 0; i < n; ++i) {
    const double mean = expected[i] / outcomes;
    if (!(std::abs(mean - 1) <= 1e-12)) {
      return testing::AssertionFailure() << "rank " << i << " of " << n << " has expected weight " << mean;
    }
  }
  return testing::AssertionSuccess();
}

/// Whether each of the C(n, b) subsets of b ranks comes from equally many outcomes.
template <class Sample>
testing::AssertionResult is_uniform(std::size_t n, std::size_t b, const std::vector<std::size_t>& bounds,
                                    const Sample& sample) {
  std::map<std::vector<std::size_t>, std::size_t> times;
  for_each_outcome(bounds, [&](const std::vector<std::size_t>& digits) {
    std::vector<std::size_t> ranks;
    for (const Drawn& c : sample(digits)) ranks.push_back(c.rank);
    std::sort(ranks.begin(), ranks.end());
    ++times[ranks];
  });
  double subsets = 1;
  for (std::size_t j = 0; j < b; ++j) subsets *= static_cast<double>(n - j) / static_cast<double>(j + 1);
  if (times.size() != static_cast<std::size_t>(std::lround(subsets))) {
    return testing::AssertionFailure() << times.size() << " subsets of " << subsets;
  }
  for (const auto& [ranks, count] : times) {
    if (ranks.size() != b || count != times.begin()->second) {
      return testing::AssertionFailure() << "a subset of " << ranks.size() << " comes " << count << " times, another "
                                         << times.begin()->second << " times";
    }
  }
  return testing::AssertionSuccess();
}

// ---- samplers by one uniform number for each rank -----------------------------------------------------

/// The weight that `sample` gives rank i when its uniform number is x, or 0 when it is not chosen.
template <class Real, class Sample>
double weight_at(std::vector<Real> u, std::size_t i, Real x, const Sample& sample) {
  u[i] = x;
  for (const Drawn& c : sample(std::move(u))) {
    if (c.rank == i) return c.weight;
  }
  return 0;
}

/// Whether the expected weight of rank i is 1 for the given uniform numbers of the others: rank i must be
/// chosen exactly when its own number is below one breakpoint, with a weight that does not depend on that
/// number, and breakpoint times weight must be 1. Then it is so in expectation over the others too.
/// sample(std::vector<Real> u) -> std::vector<Drawn>.
template <class Real, class Sample>
testing::AssertionResult is_unbiased_at(const std::vector<Real>& u, std::size_t i, double tolerance,
                                        const Sample& sample) {
  Real low = std::numeric_limits<Real>::min(), high = 1;
  if (weight_at(u, i, low, sample) == 0) return testing::AssertionFailure() << "rank " << i << " is never chosen";
  Real breakpoint = high;
  if (weight_at(u, i, high, sample) == 0) {
    for (int step = 0; step < 2000; ++step) {
      const Real middle = low + (high - low) / 2;
      if (middle == low || middle == high) break;
      (weight_at(u, i, middle, sample) != 0 ? low : high) = middle;
    }
    breakpoint = low;
  }
  for (const double share : {1e-6, 0.1, 0.35, 0.5, 0.75, 0.9, 0.99, 0.9999}) {
    const double weight = weight_at(u, i, static_cast<Real>(share * static_cast<double>(breakpoint)), sample);
    const double expected = weight * static_cast<double>(breakpoint);
    if (!(std::abs(expected - 1) <= tolerance)) {
      return testing::AssertionFailure() << "rank " << i << " is chosen with probability " << breakpoint
                                         << " and then has weight " << weight << " at " << share
                                         << " of it: the product is 1 + " << expected - 1;
    }
  }
  for (const double share : {0.01, 0.5, 0.99}) {
    const Real beyond = breakpoint + static_cast<Real>(share) * (1 - breakpoint);
    if (beyond > high && weight_at(u, i, beyond, sample) != 0) {
      return testing::AssertionFailure() << "rank " << i << " has more than one breakpoint";
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace skim::test

#endif  // SKIM_TESTS_LAWS_UNBIASED_H_
