// SPDX-License-Identifier: Apache-2.0
// Is lse the natural logarithm of the sum of exponentials?
#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "estimator/given_logits.h"
#include "skim/skim.h"

namespace skim::test {
namespace {

long double log_sum_exp(const std::vector<double>& s) {
  long double top = -INFINITY, sum = 0;
  for (const double x : s) top = std::max<long double>(top, x);
  for (const double x : s) sum += std::exp(static_cast<long double>(x) - top);
  return top + std::log(sum);
}

template <class Real>
void expect_lse(const std::vector<Real>& logits, double relative) {
  const GivenLogits<Real> p({logits});
  const double truth = static_cast<double>(log_sum_exp({logits.begin(), logits.end()}));
  const double lse = attend(Dense{}, p.query(), p.kv()).lse();
  EXPECT_NEAR(lse, truth, relative * std::max(1.0, std::abs(truth))) << logits.size() << " logits";
  // The same bound tells base 2 from base e, and the maximum from the sum.
  EXPECT_GT(std::abs(truth / std::log(2.0) - truth), relative * std::max(1.0, std::abs(truth)));
}

TEST(Lse, AgainstLogSumExp) {
  std::mt19937_64 generator(1);
  for (const std::size_t n : {1u, 2u, 15u, 16u, 17u, 1000u, 4097u, 20000u}) {
    for (const double spread : {0.1, 1.5, 20.0}) {
      std::normal_distribution<double> normal(3, spread);
      std::vector<float> single(n);
      std::vector<double> exact(n);
      for (std::size_t i = 0; i < n; ++i) {
        exact[i] = normal(generator);
        single[i] = static_cast<float>(exact[i]);
      }
      expect_lse(exact, 1e-14);
      expect_lse(single, 2e-6);
    }
  }
}

TEST(Lse, ByHand) {
  expect_lse<double>({std::log(2.0), std::log(3.0), std::log(5.0)}, 1e-15);
  const GivenLogits<double> ten({std::vector<double>(10, 0)});
  EXPECT_NEAR(attend(Dense{}, ten.query(), ten.kv()).lse(), 2.302585092994046, 1e-15);
  const GivenLogits<float> one({std::vector<float>{-12.5f}});
  EXPECT_EQ(attend(Dense{}, one.query(), one.kv()).lse(), -12.5f);
}

// Adding a constant to every logit adds it to lse.
TEST(Lse, Shift) {
  for (const double shift : {-1e6, -100.0, 100.0, 1e6}) {
    std::vector<double> s = {1, 2, 3, 4};
    const GivenLogits<double> p({s});
    for (double& x : s) x += shift;
    const GivenLogits<double> shifted({s});
    EXPECT_NEAR(attend(Dense{}, shifted.query(), shifted.kv()).lse() - shift,
                attend(Dense{}, p.query(), p.kv()).lse(), 2e-10);
  }
}

// A weight w counts a key w times.
TEST(Lse, OfWeights) {
  const GivenLogits<double> p({{0, 1, 2}});
  Selection selection;
  selection.add(0, std::log(3.0));
  selection.add(2, std::log(0.5));
  EXPECT_NEAR(attend(selection, p.query(), p.kv()).lse(), std::log(3 + 0.5 * std::exp(2.0)), 1e-15);
}

}  // namespace
}  // namespace skim::test
