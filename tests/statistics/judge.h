// SPDX-License-Identifier: Apache-2.0
// Is what was seen possible? Statistics of a test become p-values, and a judge compares the least of them with the
// test's share of the false-alarm rate.
//
// The whole suite raises a false alarm with probability at most kSuiteAlpha: each of its kTests tests gets an equal
// share, and within a test each of its J statistics an equal share of that (Bonferroni). Nothing is assumed about
// how statistics depend on each other. J is counted, not stated; the number of tests is checked when all have run.
//
// Seeds are fixed, so a run either passes always or never. SKIM_TEST_SEED=<number> takes fresh ones; the rate is
// then what it says, as far as the normal approximation of means over R >= 2000 runs holds at 6 to 7 standard
// deviations. Binomial counts are judged exactly.
#ifndef SKIM_TESTS_STATISTICS_JUDGE_H_
#define SKIM_TESTS_STATISTICS_JUDGE_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace skim::test {

inline constexpr double kSuiteAlpha = 1e-6;
inline constexpr int kTests = 64;  // that may raise a false alarm: calls of Judge::accepts
inline constexpr double kTestAlpha = kSuiteAlpha / kTests;

/// The seed from which all others are derived.
inline std::uint64_t suite_seed() {
  static const std::uint64_t seed = [] {
    const char* text = std::getenv("SKIM_TEST_SEED");
    return text == nullptr ? std::uint64_t{1} : std::strtoull(text, nullptr, 10);
  }();
  return seed;
}

// ---- p-values -------------------------------------------------------------------------------------------------

/// P(|Z| >= |z|), Z normal.
inline double normal_two_sided(double z) { return std::erfc(std::abs(z) / std::sqrt(2.0)); }
/// P(Z >= z).
inline double normal_above(double z) { return std::erfc(z / std::sqrt(2.0)) / 2; }

/// z with normal_two_sided(z) = p.
inline double normal_two_sided_quantile(double p) {
  double low = 0, high = 40;
  for (int step = 0; step < 100; ++step) {
    const double middle = (low + high) / 2;
    (normal_two_sided(middle) > p ? low : high) = middle;
  }
  return (low + high) / 2;
}

/// Twice the smaller tail of a binomial: exact, summed outwards from k.
inline double binomial_two_sided(std::uint64_t k, std::uint64_t trials, double p) {
  if (p <= 0) return k == 0 ? 1 : 0;
  if (p >= 1) return k == trials ? 1 : 0;
  const auto n = static_cast<double>(trials), at = static_cast<double>(k);
  const double mean = n * p;
  const double log_pmf = std::lgamma(n + 1) - std::lgamma(at + 1) - std::lgamma(n - at + 1) +
                         at * std::log(p) + (n - at) * std::log1p(-p);
  // Ratios of neighbouring terms, away from the mean: they only get smaller.
  double sum = 1, term = 1;
  if (at >= mean) {
    for (double j = at; j < n && term > 1e-17 * sum; ++j)
      sum += term *= (n - j) / (j + 1) * (p / (1 - p));
  } else {
    for (double j = at; j > 0 && term > 1e-17 * sum; --j)
      sum += term *= j / (n - j + 1) * ((1 - p) / p);
  }
  return std::min(1.0, 2 * std::exp(log_pmf) * sum);
}

/// P(X >= x), X chi-square with `freedom` degrees: the upper incomplete gamma function.
inline double chi_square_above(double x, double freedom) {
  const double a = freedom / 2, y = x / 2;
  if (y <= 0) return 1;
  const double scale = std::exp(a * std::log(y) - y - std::lgamma(a));
  if (y < a + 1) {  // 1 - the series of the lower one
    double term = 1 / a, sum = term;
    for (double k = a + 1; term > 1e-17 * sum; ++k) sum += term *= y / k;
    return 1 - scale * sum;
  }
  // Continued fraction (Lentz).
  double b = y + 1 - a, c = 1e300, d = 1 / b, fraction = d;
  for (double k = 1; k < 10000; ++k) {
    const double an = -k * (k - a);
    b += 2;
    d = 1 / (an * d + b);
    c = b + an / c;
    fraction *= d * c;
    if (std::abs(d * c - 1) < 1e-15) break;
  }
  return scale * fraction;
}

// ---- means ----------------------------------------------------------------------------------------------------

/// Mean and variance of a number over independent runs.
class Mean {
 public:
  void add(double x) {
    ++count_;
    const double before = x - mean_;
    mean_ += before / static_cast<double>(count_);
    squares_ += before * (x - mean_);
  }
  std::uint64_t count() const { return count_; }
  double mean() const { return mean_; }
  double variance() const { return squares_ / static_cast<double>(count_ - 1); }
  /// Standard error of the mean.
  double error() const { return std::sqrt(variance() / static_cast<double>(count_)); }

 private:
  std::uint64_t count_ = 0;
  double mean_ = 0, squares_ = 0;
};

// ---- the judge ------------------------------------------------------------------------------------------------

class Judge {
 public:
  explicit Judge(std::string name) : name_(std::move(name)) {}

  /// A statistic with this p-value.
  void p_value(const std::string& what, double p) {
    ++statistics_;
    if (!(p < least_)) return;
    least_ = p;
    worst_ = what;
  }

  /// The mean of runs is `truth`, up to rounding of the arithmetic.
  void mean_is(const std::string& what, const Mean& m, double truth, double rounding = 0) {
    const double off = std::abs(m.mean() - truth) - rounding;
    const double z = off <= 0 ? 0 : m.error() > 0 ? off / m.error() : 1e6;
    p_value(what + ": mean " + std::to_string(m.mean()) + ", truth " + std::to_string(truth) + ", z " +
                std::to_string(z),
            normal_two_sided(z));
    largest_z_ = std::max(largest_z_, z);
    if (truth != 0 && m.error() > 0) {
      const double relative = (threshold_hint() + 3) * m.error() / std::abs(truth);
      most_detectable_ = std::min(most_detectable_, relative);
      least_detectable_ = std::max(least_detectable_, relative);
    }
  }

  /// `value`, known up to a standard error, is at most `bound`.
  void at_most(const std::string& what, double value, double bound, double error) {
    const double z = error > 0 ? (value - bound) / error : value > bound ? 1e6 : 0;
    p_value(what + ": " + std::to_string(value) + " against " + std::to_string(bound) + ", z " +
                std::to_string(z),
            z <= 0 ? 1 : normal_above(z));
    largest_z_ = std::max(largest_z_, z);
  }

  /// An event of probability p has happened in k of the trials.
  void count_is(const std::string& what, std::uint64_t k, std::uint64_t trials, double p) {
    p_value(
        what + ": " + std::to_string(k) + " of " + std::to_string(trials) + ", p " + std::to_string(p),
        binomial_two_sided(k, trials, p));
  }

  void chi_square(const std::string& what, double x, double freedom) {
    p_value(what + ": chi-square " + std::to_string(x) + " with " + std::to_string(freedom) +
                " degrees of freedom",
            chi_square_above(x, freedom));
  }

  double threshold() const {
    return kTestAlpha / static_cast<double>(std::max<std::size_t>(1, statistics_));
  }
  bool rejects() const { return least_ < threshold(); }

  /// For the library itself: may raise a false alarm, so it counts.
  testing::AssertionResult accepts() const {
    ++tests_that_accept();
    testing::Test::RecordProperty(name_ + " statistics", static_cast<int>(statistics_));
    if (std::getenv("SKIM_TEST_VERBOSE") != nullptr) {
      std::printf("%-44s %6zu statistics, least p %.1e (needs %.1e), largest |z| %.2f", name_.c_str(),
                  statistics_, least_, threshold(), largest_z_);
      if (least_detectable_ > 0)
        std::printf(", sure to find a bias of %.2g to %.2g", most_detectable_, least_detectable_);
      std::printf("\n");
    }
    if (!rejects()) return testing::AssertionSuccess();
    return testing::AssertionFailure()
           << name_ << ", suite seed " << suite_seed() << ": p " << least_ << " < " << threshold()
           << " (1 of " << statistics_ << "): " << worst_;
  }

  /// For a mutant.
  testing::AssertionResult finds_fault() const {
    if (std::getenv("SKIM_TEST_VERBOSE") != nullptr) {
      std::printf("%-44s rejected by: %s\n", name_.c_str(), worst_.c_str());
    }
    if (rejects()) return testing::AssertionSuccess();
    return testing::AssertionFailure() << name_ << " is not rejected: the least p is " << least_
                                       << ", not below " << threshold() << ": " << worst_;
  }

  static int& tests_that_accept() {
    static int count = 0;
    return count;
  }

 private:
  /// z* if the test had 1000 statistics: for the detectable bias.
  static double threshold_hint() {
    static const double z = normal_two_sided_quantile(kTestAlpha / 1000);
    return z;
  }

  std::string name_, worst_;
  std::size_t statistics_ = 0;
  double least_ = 2;
  double largest_z_ = 0;
  // Relative bias of a mean that is found but for one case in 700, of the best and the worst statistic.
  double most_detectable_ = std::numeric_limits<double>::infinity(), least_detectable_ = 0;
};

}  // namespace skim::test

#endif  // SKIM_TESTS_STATISTICS_JUDGE_H_
