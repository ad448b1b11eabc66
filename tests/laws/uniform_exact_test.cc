// SPDX-License-Identifier: Apache-2.0
// Law 6 for UniformTail: every subset equally likely, every expected weight 1, by all outcomes of the draws.
#include <gtest/gtest.h>

#include "laws/unbiased.h"
#include "skim/skim.h"

namespace skim::test {
namespace {

struct Size {
  std::size_t n, b;
};
constexpr Size kSizes[] = {{1, 1}, {2, 1}, {5, 1}, {5, 2}, {5, 4}, {6, 3}, {7, 5}, {9, 3}, {12, 2}, {70, 2}};

/// How many values each draw of choose_subset may take.
std::vector<std::size_t> bounds_of(Size s) {
  std::vector<std::size_t> bounds;
  for (std::size_t j = 0; j < s.b; ++j) bounds.push_back(s.n - s.b + 1 + j);
  return bounds;
}

/// choose_subset with the draws given, each rank with weight `weight`.
std::vector<Drawn> subset(Size s, const std::vector<std::size_t>& digits, double weight) {
  std::vector<std::uint64_t> marked(s.n / 64 + 1, ~std::uint64_t{0});
  HWY_NAMESPACE::choose_subset(
      s.n, s.b,
      [&](std::size_t draw, std::size_t bound) {
        EXPECT_EQ(bound, s.n - s.b + 1 + draw);
        return digits[draw];
      },
      marked.data());
  std::vector<Drawn> chosen;
  for (std::size_t i = 0; i < s.n; ++i) {
    if (marked[i / 64] >> (i % 64) & 1) chosen.push_back({i, weight});
  }
  return chosen;
}

double share(Size s) { return static_cast<double>(s.n) / static_cast<double>(s.b); }

TEST(UniformExact, EverySubsetIsEquallyLikely) {
  for (const Size s : kSizes) {
    EXPECT_TRUE(is_uniform(s.n, s.b, bounds_of(s), [&](const auto& digits) { return subset(s, digits, 1); }))
        << s.b << " of " << s.n;
  }
}

TEST(UniformExact, IsUnbiased) {
  for (const Size s : kSizes) {
    EXPECT_TRUE(is_unbiased(s.n, bounds_of(s), [&](const auto& digits) { return subset(s, digits, share(s)); }))
        << s.b << " of " << s.n;
  }
}

// The weight is that of the estimator itself, over what earlier stages have left.
TEST(UniformExact, TheEstimatorGivesThatWeight) {
  const std::vector<float> rows(40, 1.0f);
  const ContiguousKv<float> kv{{rows.data(), 40, 1}, {rows.data(), 40, 1}};
  Query q;
  q.rows = {rows.data(), 1, 1};
  const Selection alone = select(UniformTail{7}, q, kv);
  const Selection rest = select(stack(Sinks{3}, Window{5}, UniformTail{7}), q, kv);
  ASSERT_EQ(alone.picks().size(), 7u);
  ASSERT_EQ(rest.picks().size(), 7u);
  for (std::size_t j = 0; j < 7; ++j) {
    EXPECT_DOUBLE_EQ(alone.picks()[j].log_weight, std::log(40.0 / 7));
    EXPECT_DOUBLE_EQ(rest.picks()[j].log_weight, std::log(32.0 / 7));
  }
}

// ---- what must be found out -----------------------------------------------------------------------------

TEST(UniformExact, WeightOneIsFoundOut) {
  for (const Size s : kSizes) {
    if (s.b == s.n) continue;
    EXPECT_FALSE(is_unbiased(s.n, bounds_of(s), [&](const auto& digits) { return subset(s, digits, 1); }));
  }
}

// Drawn with replacement, then de-duplicated: collisions lose weight.
TEST(UniformExact, DrawingWithReplacementIsFoundOut) {
  for (const Size s : kSizes) {
    if (s.b < 2) continue;
    const auto sample = [&](const std::vector<std::size_t>& digits) {
      std::vector<Drawn> chosen;
      for (std::size_t j = 0; j < s.b; ++j) {
        if (std::find(digits.begin(), digits.begin() + static_cast<std::ptrdiff_t>(j), digits[j]) ==
            digits.begin() + static_cast<std::ptrdiff_t>(j)) {
          chosen.push_back({digits[j], share(s)});
        }
      }
      return chosen;
    };
    const std::vector<std::size_t> bounds(s.b, s.n);
    if (s.n <= 9) {
      EXPECT_FALSE(is_unbiased(s.n, bounds, sample)) << s.b << " of " << s.n;
      EXPECT_FALSE(is_uniform(s.n, s.b, bounds, sample)) << s.b << " of " << s.n;
    }
  }
}

// Floyd's algorithm with a collision resolved to anything but the newest rank prefers some subsets.
TEST(UniformExact, WrongFloydIsFoundOut) {
  const Size s{6, 3};
  const auto sample = [&](const std::vector<std::size_t>& digits) {
    std::vector<bool> taken(s.n);
    std::vector<Drawn> chosen;
    for (const std::size_t digit : digits) {
      std::size_t rank = digit;
      while (taken[rank]) rank = (rank + 1) % s.n;
      taken[rank] = true;
      chosen.push_back({rank, share(s)});
    }
    return chosen;
  };
  EXPECT_FALSE(is_uniform(s.n, s.b, bounds_of(s), sample));
  EXPECT_FALSE(is_unbiased(s.n, bounds_of(s), sample));
}

}  // namespace
}  // namespace skim::test
