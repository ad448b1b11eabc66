// SPDX-License-Identifier: Apache-2.0
#include "skim/kernel/select-inl.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

// ---- the k largest ----

/// By a stable sort: descending values, so that ties stay in ascending order of rank.
template <class Real>
std::vector<std::size_t> sorted_ranks(const std::vector<Real>& x) {
  std::vector<std::size_t> ranks(x.size());
  std::iota(ranks.begin(), ranks.end(), std::size_t{0});
  std::stable_sort(ranks.begin(), ranks.end(),
                   [&](std::size_t a, std::size_t b) { return x[a] > x[b]; });
  return ranks;
}

template <class Real>
void expect_largest(const std::vector<Real>& x, const std::vector<std::size_t>& sorted, std::size_t k,
                    Workspace& ws) {
  const Largest<Real> top = largest(x.data(), x.size(), k, ws);
  ASSERT_EQ(top.count, k);
  std::vector<std::size_t> expected(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(k));
  EXPECT_EQ(top.least_rank, expected.back());
  EXPECT_EQ(top.least, x[expected.back()]);
  std::sort(expected.begin(), expected.end());
  ASSERT_TRUE(std::equal(expected.begin(), expected.end(), top.ranks))
      << "k " << k << " of " << x.size();
}

template <class Real>
class LargestOf : public ::testing::Test {
 public:
  using Numbers = std::vector<Real>;

  /// Arrays of n values that a selection could get wrong.
  static std::map<const char*, Numbers> arrays(std::size_t n) {
    std::mt19937 random(static_cast<unsigned>(n));
    std::normal_distribution<double> normal;
    std::map<const char*, Numbers> all;
    const auto make = [&](const char* name, const std::function<double(std::size_t)>& value) {
      for (std::size_t i = 0; i < n; ++i) all[name].push_back(static_cast<Real>(value(i)));
    };
    const double infinity = std::numeric_limits<double>::infinity();
    make("normal", [&](std::size_t) { return normal(random); });
    make("heavy tailed", [&](std::size_t) { return std::exp(4 * normal(random)); });
    make("all equal", [](std::size_t) { return -3.5; });
    make("many ties", [&](std::size_t) { return std::round(2 * normal(random)); });
    make("two values", [&](std::size_t) { return random() % 3 == 0 ? 1.0 : 0.0; });
    make("ascending", [](std::size_t i) { return static_cast<double>(i); });
    make("descending", [](std::size_t i) { return -static_cast<double>(i); });
    make("mixed zeros", [&](std::size_t) { return random() % 2 == 0 ? 0.0 : -0.0; });
    make("mostly masked", [&](std::size_t) { return random() % 10 != 0 ? -infinity : normal(random); });
    make("all masked", [&](std::size_t) { return -infinity; });
    make("some infinite", [&](std::size_t) { return random() % 50 == 0 ? infinity : normal(random); });
    make("periodic", [&](std::size_t i) { return i % 4 == 0 ? 5.0 + 0.001 * normal(random) : 0.0; });
    make("few huge", [&](std::size_t i) { return i % 4097 == 1234 ? 1e30 : 0.0; });
    make("large at one end",
         [&](std::size_t i) { return i > n - n / 100 - 1 ? 10.0 : normal(random); });
    return all;
  }
};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(LargestOf, Reals);

TYPED_TEST(LargestOf, SmallArraysForEveryK) {
  Workspace ws;
  for (std::size_t n = 1; n <= 70; n = n < 20 ? n + 1 : n + 7) {
    for (const auto& [name, x] : TestFixture::arrays(n)) {
      const auto sorted = sorted_ranks(x);
      for (std::size_t k = 1; k <= n; ++k) {
        expect_largest(x, sorted, k, ws);
        if (::testing::Test::HasFailure()) FAIL() << name;
      }
    }
  }
}

// From 8192 values on a sample guesses a threshold first.
TYPED_TEST(LargestOf, LargeArrays) {
  Workspace ws;
  for (const std::size_t n : {8191u, 8192u, 8193u, 10007u, 70001u}) {
    for (const auto& [name, x] : TestFixture::arrays(n)) {
      const auto sorted = sorted_ranks(x);
      for (const std::size_t k :
           {std::size_t{1}, std::size_t{2}, std::size_t{64}, n / 100, n / 20, n / 2, n - 1, n}) {
        expect_largest(x, sorted, k, ws);
        if (::testing::Test::HasFailure()) FAIL() << name;
      }
    }
  }
}

// 400 values are equal to the least one that is taken: the first of them count.
TYPED_TEST(LargestOf, TiesAtTheCutGoToTheLowerRank) {
  std::vector<TypeParam> x(20000, TypeParam{0});
  for (std::size_t i = 0; i < 400; ++i) x[i * 50 + 7] = 1;
  for (std::size_t i = 0; i < 100; ++i) x[i * 200 + 9] = 2;
  Workspace ws;
  const Largest<TypeParam> top = largest(x.data(), x.size(), 150, ws);
  std::size_t ones = 0;
  for (std::size_t j = 0; j < top.count; ++j) {
    if (x[top.ranks[j]] != 1) continue;
    EXPECT_EQ(top.ranks[j], ones * 50 + 7);
    ++ones;
  }
  EXPECT_EQ(ones, 50u);
  EXPECT_EQ(top.least_rank, 49u * 50 + 7);
}

// The guess is only about speed, and this is what it promises: seldom too few, never far too many.
TYPED_TEST(LargestOf, GuessedThresholdKeepsLittleMoreThanK) {
  std::mt19937 random(8);
  std::normal_distribution<double> normal;
  constexpr std::size_t kCount = 50000;
  std::vector<TypeParam> x(kCount), sample(kCount), values(kCount);
  std::vector<std::size_t> ranks(kCount);
  int too_few = 0;
  for (int trial = 0; trial < 40; ++trial) {
    for (auto& value : x) value = static_cast<TypeParam>(normal(random));
    for (const std::size_t k : {100u, 1000u, 5000u}) {
      const auto threshold = guess_threshold<2048>(x.data(), kCount, k, sample.data());
      const std::size_t kept = keep_at_least(x.data(), kCount, threshold, ranks.data(), values.data());
      too_few += kept < k ? 1 : 0;
      EXPECT_LT(kept, 2 * k + 500) << k;
    }
  }
  EXPECT_LE(too_few, 2);
}

// Large values where the sample looks, and nowhere else: the threshold read off it leaves 100 of the 500 that are wanted.
TYPED_TEST(LargestOf, GuessThatKeepsTooFewIsMadeGood) {
  constexpr std::size_t kCount = 20000, kSample = 2048, kStride = kCount / kSample;
  std::vector<TypeParam> x(kCount), sample(kCount), values(kCount);
  std::vector<std::size_t> ranks(kCount);
  for (std::size_t i = 0; i < kCount; ++i) x[i] = static_cast<TypeParam>(1e-5 * static_cast<double>(i * 7919 % kCount));
  for (std::size_t i = 0; i < 100; ++i) x[i * 20 * kStride + (i * 20 * 0x9E3779B97F4A7C15u >> 32) % kStride] = 2;
  const TypeParam low = guess_threshold<kSample>(x.data(), kCount, 500, sample.data());
  ASSERT_LT(keep_at_least(x.data(), kCount, low, ranks.data(), values.data()), 500u) << "the guess is good";
  Workspace ws;
  expect_largest(x, sorted_ranks(x), 500, ws);
}

TYPED_TEST(LargestOf, KthLargestIsThatOfASort) {
  std::mt19937 random(9);
  std::normal_distribution<double> normal;
  for (const std::size_t n : {1u, 5u, 255u, 256u, 257u, 2049u, 20000u}) {
    // all different; few values; sorted; all the same but for a spike; over all orders of magnitude
    for (const int kind : {0, 1, 2, 3, 4}) {
      std::vector<TypeParam> x(n), scratch(n);
      for (std::size_t i = 0; i < n; ++i) {
        const double value = normal(random);
        x[i] = static_cast<TypeParam>(kind == 0    ? value
                                      : kind == 1  ? std::floor(2 * value)
                                      : kind == 2  ? 0.5 * static_cast<double>(i)
                                      : kind == 4  ? std::copysign(std::exp(28 * std::abs(value)), value)
                                      : i == n / 2 ? 1.0
                                                   : 0.0);
      }
      if (n > 10) x[3] = -kInfinity<TypeParam>, x[7] = kInfinity<TypeParam>;
      std::vector<TypeParam> sorted = x;
      std::sort(sorted.begin(), sorted.end(), std::greater<>());
      for (const std::size_t k : {std::size_t{1}, n / 20 + 1, n / 2 + 1, n - n / 50, n}) {
        EXPECT_EQ(kth_largest(x.data(), n, k, scratch.data()), sorted[k - 1])
            << n << " " << kind << " " << k;
      }
    }
  }
}

TYPED_TEST(LargestOf, KeepAtLeastKeepsRanksInOrder) {
  for (const std::size_t n : {0u, 1u, 3u, 16u, 63u, 64u, 65u, 200u}) {
    std::vector<TypeParam> x(n), values(n);
    std::vector<std::size_t> ranks(n);
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<TypeParam>(i * 37 % 11);
    for (const double threshold : {-1.0, 0.0, 5.0, 10.0, 11.0}) {
      std::vector<std::size_t> expected;
      for (std::size_t i = 0; i < n; ++i) {
        if (x[i] >= static_cast<TypeParam>(threshold)) expected.push_back(i);
      }
      const std::size_t kept =
          keep_at_least(x.data(), n, static_cast<TypeParam>(threshold), ranks.data(), values.data());
      ASSERT_EQ(kept, expected.size()) << "n " << n << " threshold " << threshold;
      for (std::size_t j = 0; j < kept; ++j) {
        ASSERT_EQ(ranks[j], expected[j]);
        ASSERT_EQ(values[j], x[expected[j]]);
      }
    }
  }
}

// ---- what is selected already ----

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
