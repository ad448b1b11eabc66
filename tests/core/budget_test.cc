// SPDX-License-Identifier: Apache-2.0
#include "skim/core/budget.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/expect_error.h"

namespace {

using skim::Budget;
using skim::fraction;
using skim::Position;
using skim::power;
using skim::test::expect_error;

TEST(Budget, FixedIsThatManyAndNeverMoreThanThereAre) {
  EXPECT_EQ(Budget(64).count(1000), 64u);
  EXPECT_EQ(Budget(64).count(64), 64u);
  EXPECT_EQ(Budget(64).count(63), 63u);
  EXPECT_EQ(Budget(0).count(1000), 0u);
  EXPECT_EQ(Budget(std::size_t{1} << 60).count(1000), 1000u);
}

TEST(Budget, NothingVisibleNothingSelected) {
  for (const Budget& b : {Budget(5), fraction(0.5, 3), power(2.0, 0.5)}) {
    EXPECT_EQ(b.count(0), 0u);
    EXPECT_EQ(b.count(-1), 0u);
  }
}

// In binary, 0.07 * 100 is a little more than 7: percentages of round numbers must not gain a key.
TEST(Budget, PercentagesOfRoundNumbersAreExact) {
  ASSERT_GT(0.07 * 100, 7.0) << "the trap this test is about";
  for (int percent = 0; percent <= 100; ++percent) {
    for (Position hundreds = 1; hundreds <= 2000; hundreds += 7) {
      ASSERT_EQ(fraction(percent / 100.0).count(100 * hundreds),
                static_cast<std::size_t>(percent * hundreds))
          << percent << " % of " << 100 * hundreds;
    }
  }
}

TEST(Budget, FractionRoundsUp) {
  // Against whole numbers: ceil(n p / 1000).
  for (Position n = 1; n <= 3000; n += 13) {
    for (Position p = 0; p <= 1000; ++p) {
      const Position expected = (n * p + 999) / 1000;
      ASSERT_EQ(fraction(static_cast<double>(p) / 1000).count(n), static_cast<std::size_t>(expected))
          << n << " " << p;
    }
  }
  EXPECT_EQ(fraction(1e-9).count(10), 1u) << "a share above 0 is at least one key";
  EXPECT_EQ(fraction(0.0).count(10), 0u);
  EXPECT_EQ(fraction(1.0).count(10), 10u);
}

TEST(Budget, PowerRoundsUpToWholeRoots) {
  for (Position root = 1; root <= 3000; ++root) {
    ASSERT_EQ(power(1.0, 0.5).count(root * root), static_cast<std::size_t>(root));
    if (root > 1) {
      ASSERT_EQ(power(1.0, 0.5).count(root * root + 1), static_cast<std::size_t>(root + 1));
    }
  }
  EXPECT_EQ(power(2.0, 0.5).count(10000), 200u);
  EXPECT_EQ(power(1.0, 1.0 / 3).count(1000), 10u);
  EXPECT_EQ(power(16.0, 0.0).count(12345), 16u) << "C = 0 is a fixed k";
}

TEST(Budget, PowerStaysBetweenItsMinimumAndEverything) {
  EXPECT_EQ(power(100.0, 0.5).count(9), 9u) << "alpha n^C = 300";
  EXPECT_EQ(power(1e300, 1.0).count(1000000), 1000000u);
  EXPECT_EQ(power(0.0, 0.5).count(100), 1u) << "the minimum is 1 unless said otherwise";
  EXPECT_EQ(power(0.0, 0.5, 0).count(100), 0u);
  EXPECT_EQ(power(1.0, 0.5, 32).count(100), 32u);
  EXPECT_EQ(power(1.0, 0.5, 32).count(10), 10u) << "fewer visible than the minimum";
  EXPECT_EQ(fraction(0.1, 16).count(100), 16u);
  EXPECT_EQ(fraction(0.1, 16).count(1000), 100u);
}

// Positions beyond 2^32 are counted in full.
TEST(Budget, LongContexts) {
  const Position n = Position{1} << 40;
  EXPECT_EQ(fraction(0.5).count(n), std::size_t{1} << 39);
  EXPECT_EQ(power(1.0, 0.5).count(n), std::size_t{1} << 20);
}

TEST(Budget, MatchingDecodeSelectsKAtN) {
  for (const Position n : {1, 7, 64, 1000, 4096, 131072}) {
    for (Position k = 1; k <= n; k += 1 + k / 3) {
      for (const double exponent : {0.0, 0.001, 0.25, 0.5, 0.75, 1.0}) {
        const Budget b = skim::power_matching_decode(static_cast<double>(k), n, exponent);
        ASSERT_EQ(b.exponent(), exponent);
        ASSERT_EQ(b.count(n), static_cast<std::size_t>(k))
            << "n " << n << " k " << k << " C " << exponent;
      }
    }
  }
  EXPECT_EQ(skim::power_matching_decode(8, 0, 0.5).amount(), 8.0);
}

// Over a whole causal pass: the same work as k keys at each of n positions. Counted one position at a
// time; rounding up adds less than one key each.
TEST(Budget, MatchingPassSelectsAsMuchAsKOverThePass) {
  const double k = 16;
  for (const Position n : {100, 1000, 5000}) {
    for (const double exponent : {0.0, 0.1, 0.5, 0.9}) {
      const Budget b = skim::power_matching_pass(k, n, exponent);
      double exact = 0, counted = 0, clamped = 0;
      for (Position m = 1; m <= n; ++m) {
        const double wanted = b.amount() * std::pow(static_cast<double>(m), exponent);
        exact += wanted;
        counted += static_cast<double>(b.count(m));
        clamped += std::max(0.0, wanted - static_cast<double>(m));  // what does not exist is not read
      }
      const double total = k * static_cast<double>(n);
      EXPECT_NEAR(exact, total, 1e-9 * total) << "n " << n << " C " << exponent;
      EXPECT_GE(counted, total - clamped - 1e-6) << "n " << n << " C " << exponent;
      EXPECT_LE(counted, total - clamped + static_cast<double>(n)) << "n " << n << " C " << exponent;
    }
  }
  EXPECT_EQ(skim::power_matching_pass(8, 0, 0.5).amount(), 8.0);
}

TEST(Budget, SaysWhatItIs) {
  EXPECT_EQ(Budget(3).kind(), Budget::Kind::kFixed);
  EXPECT_EQ(Budget(3).amount(), 3.0);
  EXPECT_EQ(fraction(0.25, 7).kind(), Budget::Kind::kFraction);
  EXPECT_EQ(fraction(0.25, 7).minimum(), 7u);
  EXPECT_EQ(power(2.0, 0.5).kind(), Budget::Kind::kPower);
  EXPECT_EQ(power(2.0, 0.5).exponent(), 0.5);
  EXPECT_EQ(power(2.0, 0.5), power(2.0, 0.5, 1));
  EXPECT_NE(power(2.0, 0.5), power(2.0, 0.5, 2));
  EXPECT_NE(Budget(1), power(1.0, 0.0));
  static_assert(Budget(3).amount() == 3.0, "usable in constants");
}

TEST(Budget, RejectsWhatMakesNoSense) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  expect_error([&] { Budget(-3).validate("TopK"); }, {"skim::TopK", "-3", "at least 0"});
  expect_error([&] { fraction(1.5).validate("TopK"); }, {"1.5", "between 0 and 1"});
  expect_error([&] { fraction(-0.25).validate("TopK"); }, {"-0.25", "between 0 and 1"});
  expect_error([&] { fraction(nan).validate("TopK"); }, {"nan"});
  expect_error([&] { power(-2.0, 0.5).validate("Tail"); }, {"skim::Tail", "-2", "at least 0"});
  expect_error([&] { power(infinity, 0.5).validate("Tail"); }, {"inf"});
  expect_error([&] { power(nan, 0.5).validate("Tail"); }, {"nan"});
  expect_error([&] { power(1.0, 1.25).validate("Tail"); }, {"1.25", "between 0 and 1"});
  expect_error([&] { power(1.0, -0.5).validate("Tail"); }, {"-0.5", "between 0 and 1"});
  expect_error([&] { power(1.0, nan).validate("Tail"); }, {"nan"});
  for (const Budget& fine :
       {Budget(0), fraction(0.0), fraction(1.0), power(0.0, 0.0), power(3.5, 1.0)}) {
    EXPECT_NO_THROW(fine.validate("TopK"));
  }
}

}  // namespace
