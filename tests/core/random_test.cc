// SPDX-License-Identifier: Apache-2.0
#include "skim/core/random.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

namespace {

using skim::Draws;
using skim::Philox;
using skim::Position;
using skim::Stream;

// Known answers of Random123 (kat_vectors, philox4x32 10).
TEST(Philox, KnownAnswers) {
  static_assert(Philox::block(0, {0, 0, 0, 0}) ==
                Philox::Block{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  EXPECT_EQ(Philox::block(0xffffffffffffffffu, {0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu}),
            (Philox::Block{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  // Counter and key are the digits of pi; the first word of the key is the low half.
  EXPECT_EQ(Philox::block(0x299f31d0a4093822u, {0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}),
            (Philox::Block{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

/// Pearson's statistic of counts that should be equal.
double chi_square(const std::vector<int>& counts) {
  double total = 0, sum = 0;
  for (const int c : counts) total += c;
  const double expected = total / static_cast<double>(counts.size());
  for (const int c : counts) sum += (c - expected) * (c - expected) / expected;
  return sum;
}

TEST(Draws, UniformIsInZeroOneAndFlat) {
  const Draws draws(Stream{.seed = 7}, 100);
  std::vector<int> counts(64);
  for (std::uint64_t i = 0; i < 200000; ++i) {
    const double u = draws.uniform(i);
    ASSERT_GT(u, 0.0);
    ASSERT_LE(u, 1.0);
    ASSERT_EQ(u, (draws.bits(i) + 1.0) / 4294967296.0);
    ++counts[static_cast<std::size_t>(std::ceil(u * 64)) - 1];
  }
  EXPECT_LT(chi_square(counts), 130) << "63 degrees of freedom, p < 1e-6";
}

__extension__ typedef unsigned __int128 Wide;

TEST(Draws, BelowIsTheScaledDraw) {
  const Draws draws(Stream{.seed = 1, .layer = 2}, 3);
  for (const std::uint64_t bound :
       {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{3}, std::uint64_t{1000},
        std::uint64_t{0xFFFFFFFF}, std::uint64_t{1} << 32}) {
    for (std::uint64_t i = 0; i < 2000; ++i) {
      const auto b = Philox::block(draws.key(), {static_cast<std::uint32_t>(i), 0, 1, 0});
      const Wide x = (Wide{b[1]} << 32) | b[0];
      const std::uint64_t drawn = draws.below(i, bound);
      ASSERT_EQ(drawn, static_cast<std::uint64_t>((x * bound) >> 64)) << "bound " << bound;
      ASSERT_LT(drawn, bound);
    }
  }
}

TEST(Draws, BelowIsFlat) {
  const Draws draws(Stream{.seed = 11}, 0);
  for (const std::uint64_t bound : {2u, 3u, 7u, 64u}) {
    std::vector<int> counts(bound);
    for (std::uint64_t i = 0; i < 100000; ++i) ++counts[draws.below(i, bound)];
    // About mean + 6 standard deviations of chi-square.
    const double freedom = static_cast<double>(bound - 1);
    EXPECT_LT(chi_square(counts), freedom + 6 * std::sqrt(2 * freedom) + 12) << bound;
  }
}

// Every part of the key counts, the upper halves too, and none can stand for another.
TEST(Draws, StreamsDiffer) {
  const std::uint64_t high = std::uint64_t{1} << 32;
  struct Key {
    Stream stream;
    Position query;
  };
  const std::vector<Key> keys = {
      {{}, 0},
      {{.seed = 1}, 0},
      {{.seed = high}, 0},
      {{.layer = 1}, 0},
      {{.head = 1}, 0},
      {{.sequence = 1}, 0},
      {{.sequence = high}, 0},
      {{}, 1},
      {{}, static_cast<Position>(high)},
      {{.layer = 1, .head = 2}, 0},
      {{.layer = 2, .head = 1}, 0},
      {{.seed = 1, .sequence = 1}, 1},
  };
  std::set<std::uint64_t> seen;
  for (const Key& k : keys) EXPECT_TRUE(seen.insert(Draws(k.stream, k.query).key()).second);
}

TEST(Draws, NeighbouringStreamsAreUncorrelated) {
  constexpr std::uint64_t kDraws = 100000;
  const double bound = 6 / std::sqrt(static_cast<double>(kDraws));
  const Draws a(Stream{.seed = 5}, 10);
  for (const Draws& b : {Draws(Stream{.seed = 6}, 10), Draws(Stream{.seed = 5, .layer = 1}, 10),
                         Draws(Stream{.seed = 5, .head = 1}, 10),
                         Draws(Stream{.seed = 5, .sequence = 1}, 10), Draws(Stream{.seed = 5}, 11)}) {
    double sum = 0;
    for (std::uint64_t i = 0; i < kDraws; ++i) sum += (a.uniform(i) - 0.5) * (b.uniform(i) - 0.5);
    EXPECT_LT(std::abs(12 * sum / kDraws), bound);
  }
}

TEST(Draws, IndexIsUsedInFull) {
  const Draws draws(Stream{}, 0);
  const std::uint64_t far = std::uint64_t{1} << 34;  // its counter does not fit in 32 bits
  EXPECT_NE(draws.bits(0), draws.bits(far));
  EXPECT_NE(draws.below(0, std::uint64_t{1} << 32),
            draws.below(std::uint64_t{1} << 32, std::uint64_t{1} << 32));
  std::set<std::uint32_t> seen;
  for (std::uint64_t i = 0; i < 64; ++i) seen.insert(draws.bits(i));
  EXPECT_EQ(seen.size(), 64u) << "all four words of a block are different draws";
}

// An estimator that draws both kinds must not find the same bits in both.
TEST(Draws, BelowAndUniformDoNotShareBits) {
  const Draws draws(Stream{.seed = 3}, 4);
  const std::uint64_t all = std::uint64_t{1} << 32;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    ASSERT_NE(draws.below(i, all), draws.bits(i));
    ASSERT_NE(draws.below(i, all), draws.bits(4 * i + 1));
  }
}

}  // namespace
