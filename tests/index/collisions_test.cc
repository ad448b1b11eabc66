// SPDX-License-Identifier: Apache-2.0
// Are the keys that share buckets with a query found, all of them and no others?
#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "support/indexes.h"
#include "support/layouts.h"
#include "support/selections.h"

namespace skim::test {
namespace {

using HWY_NAMESPACE::Met;

std::vector<std::uint16_t> codes_of_query(const LshTables& tables, std::size_t number, const float* row) {
  Workspace ws;
  std::vector<std::uint16_t> codes(number);
  HWY_NAMESPACE::hash_query(tables.planes(), number, row, codes.data(), ws);
  return codes;
}

/// Plainly: position after position, table after table.
std::vector<Position> by_hand(const LshTables& tables, const std::vector<std::uint16_t>& query, std::size_t least,
                              skim::Span visible, const Selection& selection) {
  const auto codes = codes_of(tables);
  std::vector<bool> taken(codes.size());
  for (const Weighted& w : list_of(selection)) {
    if (w.position < tables.hashed()) taken[static_cast<std::size_t>(w.position)] = true;
  }
  std::vector<Position> positions;
  for (std::size_t i = 0; i < codes.size(); ++i) {
    std::size_t count = 0;
    for (std::size_t t = 0; t < query.size(); ++t) count += codes[i][t] == query[t] ? 1u : 0u;
    for (const Position at : LshAccess::unhashed(tables)) count += at == static_cast<Position>(i) ? 1000u : 0u;
    const auto at = static_cast<Position>(i);
    if (count >= least && visible.contains(at) && !taken[i]) positions.push_back(at);
  }
  return positions;
}

TEST(Collisions, AreThoseCountedByHand) {
  std::mt19937_64 random(1);
  for (const std::size_t n : {0u, 255u, 256u, 300u, 1023u, 1024u, 1500u, 4096u, 7150u}) {
    for (const std::size_t bits : {1u, 4u, 9u}) {
      const std::size_t all = bits == 1 ? 9 : 40;
      auto p = random_problem<float>({n, 10, 1, 1}, n + bits);
      for (std::size_t i = 7; i < n; i += 611) fill_row(row_at(p.keys, i, 10), 10, i % 2 == 0 ? kNan : kInf);
      for (const std::size_t segment : {1024u, 4096u}) {
        const LshTables tables = lsh_tables_of(p.kv(), bits, all, 1, segment);
        for (int trial = 0; trial < 12; ++trial) {
          const std::size_t number = trial % 3 == 0 ? all : 2 + random() % (all - 1);
          const auto query = codes_of_query(tables, number, random_problem<float>({0, 10, 1, 1}, random()).q.data());
          const auto random_below = [&](Position most) {
            return static_cast<Position>(random() % static_cast<std::uint64_t>(most + 1));
          };
          skim::Span visible{0, static_cast<Position>(n)};
          Selection selection;
          if (trial % 2 == 1) {
            visible.first = random_below(visible.last);
            visible.last -= random_below(visible.size());
            selection.add({visible.first, visible.first + random_below(visible.size() / 3)});
            selection.add({visible.last - random_below(visible.size() / 3), visible.last});
            for (Position i = visible.first + visible.size() / 3; i < visible.last - visible.size() / 3;
                 i += 1 + random_below(20)) {
              selection.add(i);
            }
          }
          for (const std::size_t least : {1u, 2u}) {
            Workspace ws;
            const Met met = HWY_NAMESPACE::collisions(tables, query.data(), number, least, visible, selection, ws);
            ASSERT_EQ(std::vector<Position>(met.positions, met.positions + met.count),
                      by_hand(tables, query, least, visible, selection))
                << n << " keys, " << bits << " bits, " << number << " of " << all << " tables";
          }
        }
      }
    }
  }
}

// A byte counts to 255 at most; a key in more tables is met all the same.
TEST(Collisions, InMoreTablesThanAByteCounts) {
  auto p = random_problem<float>({1024 + 300, 6, 1, 1}, 1);
  const auto same = [&](std::size_t i) { std::copy_n(p.q.begin(), 6, row_at(p.keys, i, 6)); };
  same(300);
  same(1300 - 32);
  for (const std::size_t number : {255u, 256u, 257u, 512u, 1024u}) {
    const LshTables tables = lsh_tables_of(p.kv(), 6, number);
    const auto query = codes_of_query(tables, number, p.q.data());
    Workspace ws;
    const Met met = HWY_NAMESPACE::collisions(tables, query.data(), number, 2, {0, 1324}, {}, ws);
    EXPECT_EQ(std::vector<Position>(met.positions, met.positions + met.count), by_hand(tables, query, 2, {0, 1324}, {}))
        << number;
  }
}

TEST(Collisions, AQueryIsHashedAsKeysAre) {
  for (const std::size_t d : {1u, 13u, 128u}) {
    for (const std::size_t bits : {1u, 7u, 16u}) {
      const auto p = random_problem<float>({256, d, 1, 1}, d);
      const LshTables tables = lsh_tables_of(p.kv(), bits, 21);
      const auto codes = codes_of(tables);
      std::vector<float> row(d);
      std::size_t apart = 0;
      for (std::size_t i = 0; i < 256; ++i) {
        for (std::size_t c = 0; c < d; ++c) row[c] = p.keys[i * d + c] - to_float(LshAccess::centres(tables)[c]);
        const auto query = codes_of_query(tables, 21, row.data()), fewer = codes_of_query(tables, 5, row.data());
        for (std::size_t t = 0; t < 21; ++t) apart += query[t] == codes[i][t] ? 0u : 1u;
        for (std::size_t t = 0; t < 5; ++t) ASSERT_EQ(query[t], fewer[t]);
      }
      EXPECT_LE(apart, 2u) << "sums in another order change a side only where it is nearly none";
    }
  }
}

TEST(Collisions, AGroupAsksInTheMeanOfItsDirections) {
  auto p = random_problem<float>({1, 9, 1, 5}, 1);
  std::fill_n(p.q.begin() + 9, 9, 0.0f);
  p.q[18 + 3] = NAN;
  p.q[27 + 1] = INFINITY;
  for (std::size_t c = 0; c < 9; ++c) p.q[36 + c] *= 1e30f;  // its length does not matter
  Workspace ws;
  float row[9];
  const double length = HWY_NAMESPACE::pool_directions(p.query(), row, ws);
  double first = 0, last = 0, squares = 0, expected[9];
  for (std::size_t c = 0; c < 9; ++c) {
    first += double{p.q[c]} * double{p.q[c]};
    last += double{p.q[36 + c]} * double{p.q[36 + c]};
  }
  for (std::size_t c = 0; c < 9; ++c) {
    expected[c] = p.q[c] / std::sqrt(first) + p.q[36 + c] / std::sqrt(last);
    squares += expected[c] * expected[c];
  }
  for (std::size_t c = 0; c < 9; ++c) EXPECT_NEAR(row[c], expected[c] / std::sqrt(squares), 1e-7);
  EXPECT_NEAR(length, 1, 1e-7);
  // Nobody has a direction; two cancel.
  const float nothing[4] = {0, 0, NAN, 1}, opposite[4] = {3, -1, -3, 1};
  Query q;
  for (const float* rows : {nothing, opposite}) {
    q.rows = {rows, 2, 2};
    EXPECT_EQ(HWY_NAMESPACE::pool_directions(q, row, ws), 0);
    EXPECT_EQ(row[0], 0);
    EXPECT_EQ(row[1], 0);
  }
}

}  // namespace
}  // namespace skim::test
