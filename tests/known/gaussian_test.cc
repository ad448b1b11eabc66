// SPDX-License-Identifier: Apache-2.0
// With normal logits the mass of the top keys has a closed form (arXiv 2512.07647): does the library find it?
// Phi is the normal distribution function, sigma the spread of the logits.
#include <cmath>
#include <cstddef>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/given_logits.h"
#include "skim/skim.h"

namespace skim::test {
namespace {

double normal_below(double x) { return std::erfc(-x / std::sqrt(2.0)) / 2; }

double normal_quantile(double p) {
  double low = -40, high = 40;
  for (int step = 0; step < 200; ++step) {
    const double middle = (low + high) / 2;
    (normal_below(middle) < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

constexpr std::size_t kKeys = 65536;

/// Mean over draws of the logits of the share of the keys that hold all but `epsilon` of the mass. A single draw is
/// off by e^{sigma^2 / 2} / sqrt(n) or so, 3 % for sigma = 2.
double share_for(double sigma, double epsilon) {
  constexpr int kDraws = 24;
  double share = 0;
  for (std::uint64_t seed = 0; seed < kDraws; ++seed) {
    const auto p = normal_logits<float>(1, kKeys, sigma, 100 + seed);
    share +=
        static_cast<double>(select(TopP{1 - epsilon}, p.query(), p.kv()).picks().size()) / kKeys / kDraws;
  }
  return share;
}

// k_epsilon / n -> 1 - Phi(sigma + Phi^-1(epsilon)).
TEST(Gaussian, KeysForAGivenMass) {
  EXPECT_NEAR(1 - normal_below(1 + normal_quantile(0.2)), 0.4371, 5e-5);
  EXPECT_NEAR(1 - normal_below(2 + normal_quantile(0.05)), 0.3612, 5e-5);
  struct Case {
    double sigma, epsilon;
  };
  for (const auto& [sigma, epsilon] :
       {Case{1, 0.2}, Case{2, 0.05}, Case{1, 0.05}, Case{0.5, 0.1}, Case{1.5, 0.1}}) {
    const double formula = 1 - normal_below(sigma + normal_quantile(epsilon));
    EXPECT_NEAR(share_for(sigma, epsilon), formula, 0.01 * formula)
        << "sigma " << sigma << ", epsilon " << epsilon;
  }
}

// The top share f of the keys holds Phi(sigma - Phi^-1(1 - f)) of the mass.
TEST(Gaussian, MassOfTheTopKeys) {
  for (const double sigma : {0.5, 1.0, 1.5, 2.0}) {
    for (const double f : {0.05, 0.2, 0.5}) {
      const double formula = normal_below(sigma - normal_quantile(1 - f));
      double mass = 0;
      for (std::uint64_t seed = 0; seed < 4; ++seed) {
        const auto p = normal_logits<float>(1, kKeys, sigma, 200 + seed);
        const float kept = attend(TopK{fraction(f)}, p.query(), p.kv()).lse();
        mass += std::exp(static_cast<double>(kept) - attend(Dense{}, p.query(), p.kv()).lse()) / 4;
      }
      EXPECT_NEAR(mass, formula, 0.01 * formula) << "sigma " << sigma << ", f " << f;
    }
  }
}

// Spreads of 1.37 to 1.68 are those with which a fifth of the keys holds 70 to 80 % of the mass: the long tail that
// MagicPIG measures on trained models.
TEST(Gaussian, TheLongTail) {
  EXPECT_NEAR(normal_below(1.37 - normal_quantile(0.8)), 0.70, 0.005);
  EXPECT_NEAR(normal_below(1.68 - normal_quantile(0.8)), 0.80, 0.005);
}

}  // namespace
}  // namespace skim::test
