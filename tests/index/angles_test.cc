// SPDX-License-Identifier: Apache-2.0
// Are dot products and squares those of keys less their centre, wherever the keys lie?
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "support/indexes.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

using HWY_NAMESPACE::Met;

template <class K>
void expect_angles(std::size_t d, bool paged) {
  const std::size_t n = 2500;
  auto p = random_problem<K>({n, d, 3, 1}, d);
  std::vector<double> row(d);
  for (std::size_t i = 1024; i < n; ++i) {
    for (std::size_t c = 0; c < d; ++c) row[c] = 30 + std::sin(static_cast<double>(i * d + c));
    store_row(row.data(), d, row_at(p.keys, i, d));
  }
  const LshTables tables = lsh_tables_of(p.kv(), 2, 2);
  std::vector<Position> positions = {0, 5, 6, 1022, 1023, 1024, 1025, 1500, 1501, 1502, 1503, 2047, 2048, 2300, 2400};
  const Met met{positions.data(), positions.size()};
  std::vector<float> products(positions.size() + 4), squares(positions.size() + 4);
  Workspace ws;
  if (paged) {
    const InPages<K, K> pages(p, 16, Adjacency::kAdjacent);
    HWY_NAMESPACE::angles(tables, pages.kv(), p.q.data(), met, products.data(), squares.data(), ws);
  } else {
    HWY_NAMESPACE::angles(tables, p.kv(), p.q.data(), met, products.data(), squares.data(), ws);
  }
  EXPECT_EQ(ws.reads.keys, positions.size());
  const Matrix keys = numbers_of(p.keys, n, d);
  for (std::size_t j = 0; j < positions.size(); ++j) {
    const auto i = static_cast<std::size_t>(positions[j]);
    double product = 0, square = 0, magnitude = 0;
    for (std::size_t c = 0; c < d; ++c) {
      const double x = keys(i, c) - to_float(LshAccess::centres(tables)[i / 1024 * d + c]);
      product += x * double{p.q[c]};
      magnitude += std::abs(keys(i, c) * double{p.q[c]});
      square += x * x;
    }
    EXPECT_NEAR(products[j], product, 1e-6 * magnitude) << "key " << i;
    EXPECT_NEAR(squares[j], square, 1e-5 * square + 1e-6 * 30) << "key " << i;
  }
}

TEST(Angles, AreToKeysLessTheirCentre) {
  for (const std::size_t d : {1u, 3u, 31u, 32u, 33u, 64u, 100u, 128u}) {
    for (const bool paged : {false, true}) {
      SCOPED_TRACE(testing::Message() << "d " << d);
      expect_angles<float>(d, paged);
      expect_angles<F16>(d, paged);
      expect_angles<BF16>(d, paged);
      expect_angles<I8>(d, paged);
    }
  }
}

}  // namespace
}  // namespace skim::test
