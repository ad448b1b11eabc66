// SPDX-License-Identifier: Apache-2.0
// Are the p-values right, and does the judge judge?
#include "statistics/judge.h"

#include <random>

namespace skim::test {
namespace {

TEST(PValue, Normal) {
  EXPECT_NEAR(normal_two_sided(1.959963985), 0.05, 1e-9);
  EXPECT_NEAR(normal_above(6) / 9.865876450e-10, 1, 1e-8);
  for (const double p : {0.5, 1e-3, 1e-6, 1e-12})
    EXPECT_NEAR(normal_two_sided(normal_two_sided_quantile(p)) / p, 1, 1e-9);
}

TEST(PValue, Binomial) {
  EXPECT_NEAR(binomial_two_sided(10, 10, 0.5), 2 / 1024.0, 1e-12);
  EXPECT_NEAR(binomial_two_sided(1, 10, 0.5), 2 * 11 / 1024.0, 1e-12);
  EXPECT_NEAR(binomial_two_sided(0, 50, 0.1), 2 * std::pow(0.9, 50), 1e-12);
  EXPECT_EQ(binomial_two_sided(5, 10, 0.5), 1);
  EXPECT_EQ(binomial_two_sided(0, 10, 0), 1);
  EXPECT_EQ(binomial_two_sided(1, 10, 0), 0);
  EXPECT_EQ(binomial_two_sided(9, 10, 1), 0);
  // Against the plain sum.
  for (const int k : {0, 3, 17, 30, 60, 99, 100}) {
    for (const double p : {0.01, 0.3, 0.97}) {
      double below = 0, above = 0;
      for (int j = 0; j <= 100; ++j) {
        const double pmf = std::exp(std::lgamma(101.0) - std::lgamma(j + 1.0) - std::lgamma(101.0 - j) +
                                    j * std::log(p) + (100 - j) * std::log(1 - p));
        if (j <= k) below += pmf;
        if (j >= k) above += pmf;
      }
      const double truth = std::min(1.0, 2 * (k >= 100 * p ? above : below));
      EXPECT_NEAR(binomial_two_sided(static_cast<std::uint64_t>(k), 100, p) / truth, 1, 1e-9)
          << k << ", " << p;
    }
  }
}

TEST(PValue, ChiSquare) {
  EXPECT_NEAR(chi_square_above(3.841458821, 1), 0.05, 1e-9);
  EXPECT_NEAR(chi_square_above(18.307038053, 10), 0.05, 1e-9);
  EXPECT_NEAR(chi_square_above(2, 2), std::exp(-1.0), 1e-12);
  EXPECT_NEAR(chi_square_above(60, 2) / std::exp(-30.0), 1, 1e-9);
  EXPECT_NEAR(chi_square_above(1, 10), 0.999827884370, 1e-9);
}

TEST(Mean, OfAFewNumbers) {
  Mean m;
  for (const double x : {1.0, 2.0, 4.0, 9.0}) m.add(x);
  EXPECT_DOUBLE_EQ(m.mean(), 4);
  EXPECT_DOUBLE_EQ(m.variance(), 38.0 / 3);
  EXPECT_DOUBLE_EQ(m.error(), std::sqrt(38.0 / 12));
}

TEST(Judge, SharesItsRateAmongItsStatistics) {
  Judge one("one"), many("many");
  one.p_value("p", kTestAlpha * 0.99);
  EXPECT_TRUE(one.rejects());
  many.p_value("p", kTestAlpha * 0.99);
  many.p_value("q", 0.5);
  EXPECT_FALSE(many.rejects());
  many.p_value("r", kTestAlpha * 0.3);
  EXPECT_TRUE(many.rejects());
}

// Under the truth p-values are not too small: half of them below 1/2 and so on, in the mean of 2000 numbers.
TEST(Judge, FairCoinsPass) {
  std::mt19937_64 generator(1);
  std::normal_distribution<double> normal(5, 2);
  int below_half = 0, below_tenth = 0;
  for (int repeat = 0; repeat < 1000; ++repeat) {
    Mean m;
    for (int i = 0; i < 200; ++i) m.add(normal(generator));
    const double p = normal_two_sided((m.mean() - 5) / m.error());
    below_half += p < 0.5 ? 1 : 0;
    below_tenth += p < 0.1 ? 1 : 0;
  }
  EXPECT_NEAR(below_half, 500, 6 * std::sqrt(250.0));
  EXPECT_NEAR(below_tenth, 100, 6 * std::sqrt(90.0));
}

TEST(Judge, AnExactConstantNeedsNoVariance) {
  Judge judge("constant");
  Mean m;
  for (int i = 0; i < 10; ++i) m.add(3);
  judge.mean_is("right", m, 3);
  judge.mean_is("rounded", m, 3 + 1e-7, 1e-6);
  EXPECT_FALSE(judge.rejects());
  judge.mean_is("wrong", m, 3.1, 1e-6);
  EXPECT_TRUE(judge.rejects());
}

}  // namespace
}  // namespace skim::test
