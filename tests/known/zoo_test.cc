// SPDX-License-Identifier: Apache-2.0
// How much does an animal of a zoo eat? The example of MagicPIG (arXiv 2410.16179, appendix F), whose answers
// are known exactly: top-k keeps the kinds with many animals and is far off, sampling is right on average.
#include <cmath>
#include <cstddef>
#include <vector>

#include <gtest/gtest.h>

#include "skim/skim.h"

namespace skim::test {
namespace {

/// 100 animals: 10 elephants that eat 50 lb a day, 10 pigs 20 lb, 10 tigers 10 lb, and 70 animals of 70 other
/// kinds 1 lb each. A kind is a key; its softmax weight is its share of the animals.
struct Zoo {
  std::vector<double> keys, values;
  double query_row = 1;

  Zoo() {
    const auto kind = [this](double animals, double pounds) {
      keys.push_back(std::log(animals));
      values.push_back(pounds);
    };
    for (int i = 0; i < 30; ++i) kind(1, 1);
    kind(10, 20);
    for (int i = 0; i < 25; ++i) kind(1, 1);
    kind(10, 50);
    for (int i = 0; i < 15; ++i) kind(1, 1);
    kind(10, 10);
  }

  ContiguousKv<double> kv() const {
    return {{keys.data(), keys.size(), 1}, {values.data(), values.size(), 1}};
  }
  BasicQuery<double> query(std::uint64_t seed = 0) const {
    BasicQuery<double> q;
    q.rows = {&query_row, 1, 1};
    q.logit.scale = 1;
    q.stream.seed = seed;
    return q;
  }
  template <class E>
  double eats(const E& estimator, std::uint64_t seed = 0) const {
    return attend(estimator, query(seed), kv()).out()[0];
  }
};

constexpr double kTruth = 8.7;  // (10 * 50 + 10 * 20 + 10 * 10 + 70) / 100
constexpr double kSecondMoment = (10 * 2500.0 + 10 * 400.0 + 10 * 100.0 + 70) / 100;

TEST(Zoo, TheTruth) {
  const Zoo zoo;
  EXPECT_NEAR(zoo.eats(Dense{}), kTruth, 1e-12);
  EXPECT_NEAR(attend(Dense{}, zoo.query(), zoo.kv()).lse(), std::log(100.0), 1e-12);
}

// Elephants, pigs, tigers and 7 or 17 others: the average over the animals of these kinds.
TEST(Zoo, TopKIsFarOff) {
  const Zoo zoo;
  EXPECT_NEAR(zoo.eats(TopK{10}), 807.0 / 37, 1e-12);
  EXPECT_NEAR(zoo.eats(TopK{20}), 817.0 / 47, 1e-12);
}

/// Mean and variance of what R seeds give.
struct Moments {
  double mean = 0, variance = 0;
};

template <class E>
Moments over_seeds(const Zoo& zoo, const E& estimator, std::uint64_t seeds) {
  double sum = 0, squares = 0;
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    const double x = zoo.eats(estimator, seed) - kTruth;
    sum += x;
    squares += x * x;
  }
  const auto r = static_cast<double>(seeds);
  return {kTruth + sum / r, squares / r - sum / r * (sum / r)};
}

// The standard deviation of one draw is 15.0: of the mean of 10 draws 4.74, of 20 draws 3.35.
TEST(Zoo, SamplingIsRightOnAverage) {
  const Zoo zoo;
  const double one_draw = std::sqrt(kSecondMoment - kTruth * kTruth);
  EXPECT_NEAR(one_draw, 15.0, 0.05);
  constexpr std::uint64_t kSeeds = 20000;
  const double root = std::sqrt(static_cast<double>(kSeeds));
  for (const int draws : {10, 20}) {
    const Moments m = over_seeds(zoo, MultinomialTail{draws}, kSeeds);
    const double deviation = one_draw / std::sqrt(draws);
    EXPECT_NEAR(m.mean, kTruth, 6 * deviation / root) << draws << " draws";
    // The distribution is not far from normal: the variance of the sample variance is 2 deviation^4 / R and the
    // excess kurtosis of one draw (3.9) over the draws.
    const double of_variance = std::sqrt((2 + 3.9 / draws)) * deviation * deviation / root;
    EXPECT_NEAR(m.variance, deviation * deviation, 6 * of_variance) << draws << " draws";
    EXPECT_NEAR(std::sqrt(m.variance), draws == 10 ? 4.74 : 3.35, 0.15);
  }
}

// Every draw adds D / B to the denominator, so it is exact.
TEST(Zoo, DenominatorOfOracleSamplingIsExact) {
  const Zoo zoo;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    EXPECT_NEAR(attend(MultinomialTail{10}, zoo.query(seed), zoo.kv()).lse(), std::log(100.0), 1e-12);
  }
}

}  // namespace
}  // namespace skim::test
