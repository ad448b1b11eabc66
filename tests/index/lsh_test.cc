// SPDX-License-Identifier: Apache-2.0
// Do LSH tables depend on the keys alone, however they came, and are their codes the sides of planes?
#include "skim/index/lsh.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "support/indexes.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

std::shared_ptr<const LshPlanes> planes_of(std::size_t d, std::size_t bits, std::size_t tables) {
  return std::make_shared<const LshPlanes>(d, bits, tables, 7);
}

template <class Kv>
LshTables fresh(const std::shared_ptr<const LshPlanes>& planes, const Kv& kv, std::size_t segment = 1024) {
  LshTables tables(planes, segment);
  append(tables, kv);
  return tables;
}

template <class K>
struct Lsh : testing::Test {};
using Storages = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(Lsh, Storages);

// ---- equal keys, equal tables -----------------------------------------------------------------------------------

TYPED_TEST(Lsh, OneByOneIsInBulkIsAfterATruncate) {
  using K = TypeParam;
  for (const std::size_t segment : {1024u, 4096u}) {
    constexpr std::size_t kN = 5300;
    auto p = random_problem<K>({kN, 12, 1, 1}, segment);
    for (const std::size_t i : {0u, 63u, 64u, 255u, 1023u, 1024u, 4095u, 5291u}) {
      fill_row(row_at(p.keys, i, 12), 12, i % 2 == 0 ? kNan : kInf);
    }
    const auto planes = planes_of(12, 3, 5);
    const LshTables bulk = fresh(planes, p.kv(), segment);
    EXPECT_EQ(bulk.size(), 5300);
    EXPECT_EQ(bulk.key_dim(), 12u);
    EXPECT_EQ(bulk.hashed(), segment == 1024 ? 5120 : 5248);  // 5300 is 5 * 1024 + 180, 4096 + 1204
    EXPECT_EQ(bulk.in_parts(), 5120);
    LshTables grown(planes, segment);
    for (std::size_t i = 1; i <= kN; ++i) append(grown, first_of(p, i));
    EXPECT_TRUE(same_tables(grown, bulk)) << "one by one";
    for (const Position cut : {5299, 5248, 5247, 5120, 5119, 4352, 4351, 4097, 4096, 4095, 3072,
                               3071, 2048, 1025, 1024, 300,  256,  255,  64,   1,    0}) {
      truncate(grown, p.kv(), cut);
      EXPECT_TRUE(same_tables(grown, fresh(planes, first_of(p, static_cast<std::size_t>(cut)), segment)))
          << "cut to " << cut;
      append(grown, p.kv());
      EXPECT_TRUE(same_tables(grown, bulk)) << "grown again from " << cut;
    }
  }
}

// A cache that grows, is cut and is written over at random; after each step its tables must be those of a fresh start.
TYPED_TEST(Lsh, AreFreshAfterALongHistory) {
  using K = TypeParam;
  constexpr std::size_t kRoom = 7000, kD = 8;
  for (const bool paged : {false, true}) {
    auto p = random_problem<K>({kRoom, kD, 1, 1}, paged);
    std::mt19937_64 generator(1);
    std::normal_distribution<double> normal;
    const auto planes = planes_of(kD, 4, 3);
    LshTables tables(planes, 2048);
    std::size_t n = 0;
    std::vector<double> row(kD);
    for (int step = 0; step < 150; ++step) {
      std::size_t from = n;
      switch (generator() % 6) {
        case 0: n = std::min(kRoom, n + 1); break;
        case 1: n = std::min(kRoom, n + generator() % 100); break;
        case 2: n = std::min(kRoom, n + generator() % 3000); break;
        case 3:
          n = from = n == 0 ? 0 : generator() % (n + 1);
          truncate(tables, first_of(p, n), static_cast<Position>(n));
          break;
        case 4:  // to where something ends
          n = from = std::min(n, n / 1024 * 1024 + generator() % 2 * 256);
          truncate(tables, first_of(p, n), static_cast<Position>(n));
          break;
        default:  // written over from somewhere, to somewhere
          from = n == 0 ? 0 : generator() % (n + 1);
          n = std::min(kRoom, from + generator() % 1500);
          for (std::size_t i = from; i < n; ++i) {
            for (double& x : row) x = 3 + normal(generator);
            if (generator() % 50 == 0) row[generator() % kD] = generator() % 2 == 0 ? kNan : kInf;
            store_row(row.data(), kD, row_at(p.keys, i, kD));
          }
      }
      if (paged) {
        const InPages<K, K> pages(part_of(p, n), 7, Adjacency::kApart, static_cast<std::uint64_t>(step));
        append(tables, pages.kv(), static_cast<Position>(from));
      } else {
        append(tables, first_of(p, n), static_cast<Position>(from));
      }
      ASSERT_TRUE(same_tables(tables, fresh(planes, first_of(p, n), 2048)))
          << "step " << step << ": " << from << " to " << n;
    }
  }
}

TYPED_TEST(Lsh, PagesAndStridesChangeNoBit) {
  using K = TypeParam;
  for (const std::size_t d : {1u, 46u, 128u}) {
    const auto p = random_problem<K>({1200, d, 2, 1}, d);
    const auto planes = planes_of(d, 5, 14);
    const LshTables flat = fresh(planes, p.kv());
    for (const std::size_t page_size : {1u, 16u, 100u}) {
      const InPages<K, K> pages(p, page_size, Adjacency::kAdjacent);
      EXPECT_TRUE(same_tables(fresh(planes, pages.kv()), flat)) << "pages of " << page_size;
    }
    const Strided<K, K> strided(p, 5, 3);
    EXPECT_TRUE(same_tables(fresh(planes, strided.kv()), flat));
  }
}

// ---- what they hold ---------------------------------------------------------------------------------------------

// By hand: the mean of the first 256 of each segment, and on which side of each plane a key less its centre is. A side
// is certain unless rounding can change it.
TYPED_TEST(Lsh, CodesAreSidesOfPlanes) {
  using K = TypeParam;
  for (const std::size_t d : {1u, 7u, 32u, 129u}) {
    for (const std::size_t bits : {1u, 3u, 10u, 16u}) {
      const std::size_t n = 2 * 1024 + 700, number = bits == 16 ? 2 : 13;
      auto p = random_problem<K>({n, d, 1, 1}, d);
      std::vector<double> row(d);
      for (std::size_t i = 1024; i < n; ++i) {  // far from zero, and drifting
        for (std::size_t c = 0; c < d; ++c)
          row[c] = 20 + std::sin(static_cast<double>(i * d + c)) + 1e-3 * static_cast<double>(i);
        store_row(row.data(), d, row_at(p.keys, i, d));
      }
      fill_row(row_at(p.keys, 1100, d), d, kNan);
      fill_row(row_at(p.keys, 1500, d), d, kInf);
      const LshTables tables = lsh_tables_of(p.kv(), bits, number);
      ASSERT_EQ(tables.hashed(), 2 * 1024 + 640);
      const auto codes = codes_of(tables);
      const Matrix keys = numbers_of(p.keys, n, d);
      ASSERT_EQ(LshAccess::centres(tables).size(), 3 * d);
      std::size_t uncertain = 0;
      for (std::size_t i = 0; i < codes.size(); ++i) {
        if (i == 1100 || i == 1500) {
          EXPECT_EQ(codes[i], std::vector<std::uint16_t>(number, 0));
          continue;
        }
        double length = 0;
        for (std::size_t c = 0; c < d; ++c) {
          row[c] = keys(i, c) - to_float(LshAccess::centres(tables)[i / 1024 * d + c]);
          length += row[c] * row[c];
        }
        for (std::size_t j = 0; j < number * bits; ++j) {
          const float* normal = tables.planes().normals() + j * d;
          double dot = 0, squares = 0;
          for (std::size_t c = 0; c < d; ++c) {
            dot += row[c] * double{normal[c]};
            squares += double{normal[c]} * double{normal[c]};
          }
          if (std::abs(dot) < 1e-4 * std::sqrt(length * squares)) {
            ++uncertain;
          } else {
            ASSERT_EQ(codes[i][j / bits] >> (j % bits) & 1, dot > 0 ? 1 : 0) << "key " << i << ", plane " << j;
          }
        }
      }
      EXPECT_LE(uncertain, codes.size() * number * bits / 500);
      EXPECT_EQ(LshAccess::unhashed(tables).size(), 2u);
    }
  }
}

TYPED_TEST(Lsh, CentresAreTheMeansOfTheFirst256FiniteKeys) {
  using K = TypeParam;
  auto p = random_problem<K>({1024 + 256, 9, 1, 1}, 3);
  for (const std::size_t i : {0u, 255u, 1030u}) fill_row(row_at(p.keys, i, 9), 9, kNan);
  const LshTables tables = lsh_tables_of(p.kv(), 2, 2);
  const Matrix keys = numbers_of(p.keys, 1280, 9);
  for (const std::size_t segment : {0u, 1u}) {
    for (std::size_t c = 0; c < 9; ++c) {
      double sum = 0, count = 0;
      for (std::size_t i = segment * 1024; i < segment * 1024 + 256; ++i) {
        if (i == 0 || i == 255 || i == 1030) continue;
        sum += keys(i, c);
        ++count;
      }
      EXPECT_NEAR(to_float(LshAccess::centres(tables)[segment * 9 + c]), sum / count, 0.01);
    }
  }
}

TEST(LshTables, WhatIsHashedOfSoMany) {
  const LshTables tables(planes_of(4, 2, 2), 2048);
  for (Position n = 0; n < 7000; ++n) {
    const Position in_segment = n % 2048;
    const Position expected = n - in_segment + (in_segment < 256 ? 0 : in_segment - in_segment % 64);
    ASSERT_EQ(tables.hashed_of(n), expected) << n;
    ASSERT_LE(tables.hashed_of(n), tables.hashed_of(n + 1));
  }
}

TEST(LshTables, NotesKeysWithoutAHash) {
  auto p = random_problem<float>({1024, 8, 1, 1}, 1);
  for (std::size_t i = 0; i < 256; ++i) {  // whose mean is zero, exactly
    for (std::size_t c = 0; c < 8; ++c)
      p.keys[i * 8 + c] = (i % 2 == 0 ? 1.0f : -1.0f) * static_cast<float>(1 + (i / 2 + c) % 4);
  }
  const auto set = [&](std::size_t i, float x) {
    std::fill_n(p.keys.begin() + static_cast<std::ptrdiff_t>(i * 8), 8, x);
  };
  set(300, 1e19f);             // squares overflow
  set(301, 1e18f);
  set(302, NAN);
  set(303, 0.0f);              // the centre itself
  set(304, 1e-13f);            // too near to it
  set(305, 1e-11f);
  set(306, 1e-40f);
  set(307, -INFINITY);
  const LshTables tables = lsh_tables_of(p.kv(), 3, 4);
  for (const BF16 x : LshAccess::centres(tables)) ASSERT_EQ(to_float(x), 0.0f);
  const auto& noted = LshAccess::unhashed(tables);
  EXPECT_EQ(std::vector<Position>(noted.begin(), noted.end()), (std::vector<Position>{300, 302, 304, 306, 307}));
  EXPECT_EQ(codes_of(tables)[303], std::vector<std::uint16_t>(4, 0));
}

// The figures of the documentation.
TEST(LshTables, BytesOfAKey) {
  const auto p = random_problem<BF16>({16384, 16, 1, 1}, 1);
  const std::size_t centre = 16 * 2;
  const std::size_t hashes = 16384 / 64 * 8;
  EXPECT_EQ(lsh_tables_of(p.kv(), 10, 150, 1, 16384).bytes(), 150 * 2 * (16384 + 1024) + centre + hashes);
  EXPECT_EQ(lsh_tables_of(p.kv(), 8, 75, 1, 16384).bytes(), 75 * 2 * (16384 + 256) + centre + hashes);
  EXPECT_EQ((150 * 2 * (16384 + 1024) + 256 + 8192) / 16384, 319);  // d = 128
  EXPECT_EQ((75 * 2 * (16384 + 256) + 256 + 8192) / 16384, 152);
  const auto open = lsh_tables_of(first_of(p, 1023), 10, 150, 1, 16384);
  EXPECT_EQ(open.bytes(), 150 * 2 * 960 + centre + 15 * 8);
}

TEST(LshTables, Errors) {
  const auto planes = planes_of(8, 3, 4);
  expect_error([] { LshTables none(nullptr); }, {"no planes"});
  for (const std::size_t segment : {0u, 512u, 1000u, 65536u}) {
    expect_error([&] { LshTables of(planes, segment); },
                 {("segment is " + std::to_string(segment)).c_str(), "1024", "32768"});
  }
  EXPECT_EQ(LshTables(planes).segment(), 16384u);
  const auto p = random_problem<float>({400, 8, 4, 1}, 6), other = random_problem<float>({500, 7, 4, 1}, 6);
  LshTables tables(planes);
  expect_error([&] { append(tables, p.kv(), 1); }, {"covers 0", "from 1"});
  append(tables, p.kv());
  expect_error([&] { append(tables, p.kv(), 401); }, {"covers 400", "from 401"});
  expect_error([&] { append(tables, first_of(p, 200), 300); }, {"from is 300", "200 keys"});
  expect_error([&] { truncate(tables, p.kv(), 401); }, {"covers 400", "cut to 401"});
  expect_error([&] { truncate(tables, p.kv(), -1); }, {"cut to -1"});
  expect_error([&] { append(tables, other.kv()); }, {"keys have 7 columns", "have 8"});
  EXPECT_TRUE(same_tables(tables, fresh(planes, p.kv(), 16384))) << "after errors the tables are what they were";
}

}  // namespace
}  // namespace skim::test
