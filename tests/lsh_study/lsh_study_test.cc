// SPDX-License-Identifier: Apache-2.0
// The parts of examples/lsh_study; above all that its LSH sampling by the book retrieves what skim's tables do.
#include <cmath>
#include <cstdlib>
#include <memory>
#include <numbers>
#include <vector>

#include <gtest/gtest.h>

#include <skim/skim.h>

#include "crossing.h"
#include "data.h"
#include "hashing.h"

namespace lsh {
namespace {

DataSettings small() {
  DataSettings data;
  data.n = 2048;
  data.d = 32;
  return data;
}

TEST(Hashing, CodesAreSidesOfPlanes) {
  const skim::LshPlanes planes(3, 2, 2, 5);
  const std::vector<float> rows = {1, 2, 3, -1, 0.5f, 2}, centre = {0.5f, 1, 4};
  const Codes codes = hash(rows, centre, planes);
  for (std::size_t i = 0; i < 2; ++i) {
    for (std::size_t l = 0; l < 2; ++l) {
      unsigned expected = 0;
      for (std::size_t b = 0; b < 2; ++b) {
        double side = 0;
        for (std::size_t c = 0; c < 3; ++c) {
          side += static_cast<double>(planes.normals()[(l * 2 + b) * 3 + c]) * static_cast<double>(rows[i * 3 + c] - centre[c]);
        }
        expected |= (side > 0 ? 1u : 0u) << b;
      }
      EXPECT_EQ(codes.row(i)[l], expected);
    }
  }
}

TEST(Hashing, MeetingsAreEqualCodesOfARangeOfTables) {
  const Codes keys{3, {1, 2, 3, 1, 2, 9}};
  const std::uint16_t query[] = {1, 2, 3};
  EXPECT_EQ(meetings(keys, query, 0, 3), (std::vector<std::uint16_t>{3, 2}));
  EXPECT_EQ(meetings(keys, query, 1, 3), (std::vector<std::uint16_t>{2, 1}));
}

TEST(Hashing, InclusionIsTheBinomialSum) {
  for (const double cosine : {-0.9, 0.0, 0.3, 0.8}) {
    const double p = std::pow(1 - std::acos(cosine) / std::numbers::pi, 4);
    double of_two_or_more = 0, choose = 1;
    for (int m = 0; m <= 10; ++m) {
      if (m >= 2) of_two_or_more += choose * std::pow(p, m) * std::pow(1 - p, 10 - m);
      choose = choose * (10 - m) / (m + 1);
    }
    EXPECT_NEAR(inclusion(cosine, 4, 10), of_two_or_more, 1e-12) << cosine;
  }
  EXPECT_EQ(inclusion(1, 4, 10), 1);
}

// Relative to the centres that skim's tables have, both retrieve the same keys with the same weights.
TEST(Hashing, AgreesWithSkimsTables) {
  const compare::Problem problem = small().synthetic(skim_bench::parse_workload("mean=1"), 1, 1);
  const compare::KvHead& head = problem.heads[0];
  const auto planes = std::make_shared<const skim::LshPlanes>(head.d, 5, 20, 3);
  skim::LshTables tables(planes);
  skim::append(tables, head.kv());
  ASSERT_EQ(tables.hashed(), 2048);
  const skim::Query query = head.query(head.asks[0], 1, skim::Grouping::kPerGroup);
  const skim::Selection selection = skim::select(skim::LshTail{5, 20}, query, skim::with_index(head.kv(), tables));

  std::vector<float> centre(head.d);
  for (std::size_t c = 0; c < head.d; ++c) centre[c] = skim::to_float(skim::LshAccess::centres(tables)[c]);
  const auto q = row(head, head.asks[0], 0);
  const auto met = meetings(hash(head.keys, centre, *planes), hash(q, {}, *planes).row(0), 0, 20);
  const auto cosine = cosines(head.keys, centre, q);
  std::size_t next = 0, retrieved = 0;
  for (std::size_t i = 0; i < met.size(); ++i) {
    if (met[i] < 2) continue;
    ++retrieved;
    ASSERT_LT(next, selection.picks().size());
    EXPECT_EQ(selection.picks()[next].position, static_cast<skim::Position>(i));
    EXPECT_NEAR(selection.picks()[next].log_weight, -std::log(inclusion(cosine[i], 5, 20)), 1e-4);
    ++next;
  }
  EXPECT_EQ(next, selection.picks().size());
  EXPECT_GT(retrieved, 50u);
}

TEST(Crossing, EveryCurveHasPointsAndLshReadsMoreByMore) {
  compare::Settings how;
  how.seeds = 1;
  how.indexed = true;
  const Curves curves = measure_curves("", small().synthetic({}, 2, 1), how);
  ASSERT_EQ(curves.curves.size(), 6u);
  for (const Curves::Curve& curve : curves.curves) {
    ASSERT_GT(curve.points.size(), 5u) << curve.method;
    EXPECT_LT(curve.points.front().values_read, curve.points.back().values_read) << curve.method;
    EXPECT_GT(curve.points.front().error, curve.points.back().error) << curve.method;
  }
}

}  // namespace
}  // namespace lsh
