// SPDX-License-Identifier: Apache-2.0
// Is E[w_i 1(i chosen)] = 1? Found by visiting every outcome of a sampler that is a function of its
// uniform numbers. What an outcome's probability is, is measured on the sampler itself: the length of the
// stretch of uniform numbers that gives it, found by bisection, not what it ought to be.
#ifndef SKIM_TESTS_ESTIMATOR_INCLUSION_H_
#define SKIM_TESTS_ESTIMATOR_INCLUSION_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace skim::test {

struct Chosen {
  std::size_t rank = 0;
  double log_weight = 0;
};

/// What one set of uniform numbers gives, in ascending order of rank. A sampler is called as
///   multinomial(log_proposal, draws, u[draws])
///   systematic(log_proposal, budget, u)
///   poisson(log_proposal, budget, u[n])
/// and returns one.
using Outcome = std::vector<Chosen>;

inline bool same_ranks(const Outcome& a, const Outcome& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Chosen& x, const Chosen& y) { return x.rank == y.rank; });
}

/// Ranks ascending, none twice, all below n, log weights finite.
inline testing::AssertionResult well_formed(const Outcome& outcome, std::size_t n) {
  for (std::size_t j = 0; j < outcome.size(); ++j) {
    if (outcome[j].rank >= n)
      return testing::AssertionFailure() << "rank " << outcome[j].rank << " of " << n;
    if (j > 0 && outcome[j].rank <= outcome[j - 1].rank) {
      return testing::AssertionFailure()
             << "rank " << outcome[j].rank << " after " << outcome[j - 1].rank;
    }
    if (!std::isfinite(outcome[j].log_weight)) {
      return testing::AssertionFailure() << "log weight " << outcome[j].log_weight;
    }
  }
  return testing::AssertionSuccess();
}

/// Sums of probability times weight over outcomes.
class Expectation {
 public:
  explicit Expectation(std::size_t n) : mean_(n, 0.0) {}

  void add(double probability, const Outcome& outcome) {
    probability_ += probability;
    count_ += probability * static_cast<double>(outcome.size());
    for (const Chosen& c : outcome) mean_[c.rank] += probability * std::exp(c.log_weight);
  }

  double mean(std::size_t i) const { return mean_[i]; }  ///< E[w_i 1(i chosen)]
  double probability() const { return probability_; }    ///< of all outcomes added
  double count() const { return count_; }                ///< expected number of picks
  std::size_t size() const { return mean_.size(); }

 private:
  std::vector<double> mean_;
  double probability_ = 0;
  double count_ = 0;
};

/// The law: E[w_i 1(i chosen)] is 1 for each rank with a proposal above -inf, 0 for the others; and the
/// outcomes are all that can happen.
template <class Real>
testing::AssertionResult is_one_everywhere(const Expectation& e, const std::vector<Real>& log_proposal,
                                           double tolerance) {
  if (!(std::abs(e.probability() - 1) <= 1e-12)) {
    return testing::AssertionFailure() << "the outcomes have probability " << e.probability();
  }
  for (std::size_t i = 0; i < e.size(); ++i) {
    const double truth = log_proposal[i] > -std::numeric_limits<Real>::infinity() ? 1 : 0;
    if (std::abs(e.mean(i) - truth) <= tolerance && (truth != 0 || e.mean(i) == 0)) continue;
    return testing::AssertionFailure()
           << "E[w 1] of rank " << i << " is " << truth << " + " << e.mean(i) - truth;
  }
  return testing::AssertionSuccess();
}

/// The same weighted by what a rank counts: the bias of the denominator, relative to it. For ranks whose
/// probability is as small as the rounding of the largest.
template <class Real>
double mass_bias(const Expectation& e, const std::vector<Real>& log_proposal) {
  double top = -std::numeric_limits<double>::infinity(), bias = 0, mass = 0;
  for (const Real x : log_proposal) top = std::max(top, static_cast<double>(x));
  for (std::size_t i = 0; i < e.size(); ++i) {
    const double size = std::exp(static_cast<double>(log_proposal[i]) - top);
    bias += size * std::abs(e.mean(i) - 1);
    mass += size;
  }
  return bias / mass;
}

/// How far E[w_i 1] may be from 1: the rule of architecture.md for float, nearly nothing in double.
template <class Real>
double inclusion_tolerance(const std::vector<Real>& log_proposal) {
  if constexpr (sizeof(Real) == sizeof(double)) {
    return 1e-12;
  } else {
    double largest = 0;
    for (const Real x : log_proposal) {
      if (std::isfinite(x)) largest = std::max(largest, std::abs(static_cast<double>(x)));
    }
    return 1e-6 + 8 * 0x1p-24 * largest;
  }
}

/// A stretch of one uniform number on which the outcome is the same.
struct Interval {
  double low = 0, high = 0;  // (low, high]
  Outcome outcome;

  double middle() const { return low + (high - low) / 2 > low ? low + (high - low) / 2 : high; }
  double length() const { return high - low; }
};

/// All of them. A sampler whose outcome never returns, once left, as its uniform grows (multinomial and
/// systematic ones move to later keys only) has no interval that this does not find.
template <class Choose>
std::vector<Interval> intervals(const Choose& choose) {
  std::vector<Interval> found;
  const auto split = [&](auto&& self, double low, const Outcome& at_low, double high,
                         const Outcome& at_high) {
    if (same_ranks(at_low, at_high)) return;
    const double middle = low + (high - low) / 2;
    if (!(low < middle && middle < high)) {  // neighbours: the outcome changes between them
      found.push_back({found.empty() ? 0.0 : found.back().high, low, at_low});
      return;
    }
    const Outcome at_middle = choose(middle);
    self(self, low, at_low, middle, at_middle);
    self(self, middle, at_middle, high, at_high);
  };
  constexpr double kLeast = 0x1p-60;
  const Outcome first = choose(kLeast), last = choose(1.0);
  split(split, kLeast, first, 1.0, last);
  found.push_back({found.empty() ? 0.0 : found.back().high, 1.0, last});
  return found;
}

/// Independent draws: where one draw changes its key is measured, then every tuple of keys is visited:
/// visit(probability, outcome).
template <class Real, class Sampler, class Visit>
void for_each_multinomial(const std::vector<Real>& log_proposal, std::size_t draws, const Sampler& sample,
                          const Visit& visit) {
  const auto keys =
      intervals([&](double u) { return sample(log_proposal, 1, std::vector<double>{u}); });
  std::vector<std::size_t> tuple(draws, 0);
  while (true) {
    double probability = 1;
    std::vector<double> u;
    for (const std::size_t t : tuple) {
      probability *= keys[t].length();
      u.push_back(keys[t].middle());
    }
    const Outcome outcome = sample(log_proposal, draws, u);
    EXPECT_TRUE(well_formed(outcome, log_proposal.size()));
    visit(probability, outcome);
    std::size_t digit = 0;
    while (digit < draws && ++tuple[digit] == keys.size()) tuple[digit++] = 0;
    if (digit == draws) return;
  }
}

/// One uniform number: the intervals between its breakpoints.
template <class Real, class Sampler, class Visit>
void for_each_systematic(const std::vector<Real>& log_proposal, std::size_t budget, const Sampler& sample,
                         const Visit& visit) {
  for (const Interval& part : intervals([&](double u) { return sample(log_proposal, budget, u); })) {
    const Outcome outcome = sample(log_proposal, budget, part.middle());
    EXPECT_TRUE(same_ranks(outcome, part.outcome));
    EXPECT_TRUE(well_formed(outcome, log_proposal.size()));
    visit(part.length(), outcome);
  }
}

/// Each rank by its own uniform number: p_i, the largest u_i that chooses it, is measured, then all subsets
/// are visited.
template <class Real, class Sampler, class Visit>
void for_each_poisson(const std::vector<Real>& log_proposal, std::size_t budget, const Sampler& sample,
                      const Visit& visit) {
  const std::size_t n = log_proposal.size();
  const auto chooses = [&](std::size_t i, Real u) {
    std::vector<Real> all(n, Real(0.5));
    all[i] = u;
    for (const Chosen& c : sample(log_proposal, budget, all)) {
      if (c.rank == i) return true;
    }
    return false;
  };
  std::vector<double> p(n);
  for (std::size_t i = 0; i < n; ++i) {
    Real low = 0, high = 1;
    if (chooses(i, high)) {
      p[i] = 1;
      continue;
    }
    for (Real middle = high / 2; low < middle && middle < high; middle = low + (high - low) / 2) {
      (middle > std::numeric_limits<Real>::min() && chooses(i, middle) ? low : high) = middle;
    }
    p[i] = static_cast<double>(low);
  }
  for (std::size_t subset = 0; subset < std::size_t{1} << n; ++subset) {
    double probability = 1;
    std::vector<Real> u(n);
    for (std::size_t i = 0; i < n; ++i) {
      const bool in = (subset >> i & 1) != 0;
      probability *= in ? p[i] : 1 - p[i];
      u[i] = static_cast<Real>(in ? p[i] / 2 : p[i] + (1 - p[i]) / 2);
    }
    if (probability == 0) continue;
    const Outcome outcome = sample(log_proposal, budget, u);
    EXPECT_TRUE(well_formed(outcome, n));
    for (std::size_t i = 0, j = 0; i < n; ++i) {
      const bool in = j < outcome.size() && outcome[j].rank == i;
      EXPECT_EQ(in, (subset >> i & 1) != 0)
          << "rank " << i << " does not depend on its own number alone";
      j += in ? 1 : 0;
    }
    visit(probability, outcome);
  }
}

/// The expectations over all these outcomes.
template <class Real, class Sampler>
Expectation expect_multinomial(const std::vector<Real>& log_proposal, std::size_t draws, const Sampler& sample) {
  Expectation e(log_proposal.size());
  for_each_multinomial(log_proposal, draws, sample, [&](double p, const Outcome& outcome) { e.add(p, outcome); });
  return e;
}
template <class Real, class Sampler>
Expectation expect_systematic(const std::vector<Real>& log_proposal, std::size_t budget, const Sampler& sample) {
  Expectation e(log_proposal.size());
  for_each_systematic(log_proposal, budget, sample, [&](double p, const Outcome& outcome) { e.add(p, outcome); });
  return e;
}
template <class Real, class Sampler>
Expectation expect_poisson(const std::vector<Real>& log_proposal, std::size_t budget, const Sampler& sample) {
  Expectation e(log_proposal.size());
  for_each_poisson(log_proposal, budget, sample, [&](double p, const Outcome& outcome) { e.add(p, outcome); });
  return e;
}

/// Problems that a sampler must be right on. Each has more than one rank with a finite proposal.
template <class Real>
struct Proposal {
  std::string name;
  std::vector<Real> log;
};

template <class Real>
std::vector<Proposal<Real>> proposals() {
  constexpr Real kNone = -std::numeric_limits<Real>::infinity();
  return {
      {"spread", {Real(0.3), Real(-1.7), Real(1.1), Real(-0.4), Real(2.3)}},
      {"descending", {3, 2, 1, 0, -1}},
      {"all equal", {2, 2, 2, 2, 2, 2}},
      {"ties at the top", {1, 1, 0, 1, -1}},
      {"one is certain", {0, 6, 1, 0, -1, Real(0.5)}},
      {"two are certain", {7, 0, 1, 7, Real(-0.5), 0}},
      {"the last is the largest", {0, -1, 0, 1, 8}},
      {"the first has none", {kNone, 1, 0, 2, 0}},
      {"the last has none", {0, 1, 0, 2, kNone}},
      {"two have none", {0, kNone, 1, kNone, 0, Real(0.25)}},
      {"far from zero", {1000, 1001, 999, 1000, Real(1000.5)}},
      {"far below zero", {-3000, -3001, -2999, -3000, Real(-3000.5)}},
  };
}

}  // namespace skim::test

#endif  // SKIM_TESTS_ESTIMATOR_INCLUSION_H_
