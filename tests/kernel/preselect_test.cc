// SPDX-License-Identifier: Apache-2.0
// Are all of the largest logits among the candidates, and are these few?
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "skim/kernel/preselect-inl.h"
#include "support/layouts.h"
#include "support/problem.h"

namespace skim::HWY_NAMESPACE {
namespace {

using test::Problem;
using test::RealOf;

constexpr float kSlopes[] = {0.5f, 0.1f, 0.02f, 0.004f};

/// A problem whose rows are [m, g], asked by m groups at the newest m positions.
template <class K>
struct Asked {
  using Real = RealOf<K>;

  Problem<K> problem;
  std::vector<Wanted<Real>> wanted;

  Asked(std::size_t n, std::size_t d, std::size_t m, std::size_t g, std::size_t count,
        const LogitRule& rule = {})
      : problem(test::random_problem<K>({n, d, 1, m * g}, 100 * n + d + g)) {
    for (std::size_t r = 0; r < m; ++r) {
      BasicQuery<Real> q;
      q.rows = {problem.q.data() + r * g * d, g, d};
      q.position = static_cast<Position>(n - m + r);
      q.logit = rule;
      wanted.push_back({q.resolved(static_cast<Position>(n)), count});
    }
  }

  /// For each row the candidates.
  template <class Kv>
  std::vector<std::vector<Position>> candidates(const Kv& kv) const {
    Workspace ws;
    Preselect<Real, Kv> preselect(kv, wanted.data(), wanted.size(), ws);
    preselect.run();
    std::vector<std::vector<Position>> all;
    for (std::size_t r = 0; r < wanted.size(); ++r) {
      const auto found = preselect.candidates(r);
      all.emplace_back(found.begin(), found.end());
    }
    return all;
  }

  /// The `count` largest canonical logits of a row, pooled over its heads: ties to the lower position.
  std::vector<Position> largest_of(std::size_t r) const {
    Workspace ws;
    const auto& q = wanted[r].query;
    const auto kv = problem.kv();
    const Pooled<Real> x = pool_max(logits(q, kv, ws), q.heads(), {}, q.visible, ws);
    std::vector<Position> order(x.count);
    std::iota(order.begin(), order.end(), q.visible.first);
    std::stable_sort(order.begin(), order.end(), [&](Position a, Position b) {
      return x.scores[a - q.visible.first] > x.scores[b - q.visible.first];
    });
    order.resize(std::min(order.size(), wanted[r].count));
    std::sort(order.begin(), order.end());
    return order;
  }

  void expect_right(std::size_t at_most) const {
    const auto found = candidates(problem.kv());
    for (std::size_t r = 0; r < wanted.size(); ++r) {
      if (wanted[r].query.visible.size() == 0) {
        EXPECT_TRUE(found[r].empty());
        continue;
      }
      ASSERT_FALSE(found[r].empty()) << "row " << r;
      ASSERT_TRUE(std::is_sorted(found[r].begin(), found[r].end())) << "row " << r;
      ASSERT_EQ(std::adjacent_find(found[r].begin(), found[r].end()), found[r].end()) << "row " << r;
      const auto due = largest_of(r);
      ASSERT_TRUE(std::includes(found[r].begin(), found[r].end(), due.begin(), due.end()))
          << "row " << r;
      ASSERT_LE(found[r].size(), at_most) << "row " << r;
    }
  }
};

TEST(Preselect, HoldsTheLargestOfEveryRow) {
  for (const std::size_t n : {70u, 127u, 128u, 129u, 900u}) {
    for (const std::size_t m : {1u, 5u, 33u, 70u}) {
      for (const std::size_t g : {1u, 3u, 4u}) {
        for (const std::size_t d : {1u, 46u, 64u}) {
          SCOPED_TRACE(testing::Message() << "n " << n << ", m " << m << ", g " << g << ", d " << d);
          Asked<float>(n, d, m, g, 7).expect_right(9);
        }
      }
    }
  }
}

TEST(Preselect, OfEveryStorageAndInDouble) {
  Asked<F16>(500, 33, 40, 4, 20).expect_right(22);
  Asked<BF16>(500, 33, 40, 4, 20).expect_right(22);
  Asked<I8>(500, 33, 40, 4, 20).expect_right(22);
  Asked<double>(500, 33, 40, 4, 20).expect_right(20);
}

TEST(Preselect, KeepsToTheLogitRule) {
  for (const double cap : {0.0, 3.0}) {
    for (const float* slopes : {static_cast<const float*>(nullptr), kSlopes}) {
      for (const double scale :
           {0.2, -0.3})  // a larger one would push many into the cap, where all are equal
      {
        Asked<float>(600, 40, 50, 4, 11, {.scale = scale, .soft_cap = cap, .alibi_slopes = slopes})
            .expect_right(14);
      }
    }
  }
}

TEST(Preselect, KeepsToVisibleRanges) {
  Asked<float> asked(700, 40, 66, 2, 9);
  for (std::size_t r = 0; r < asked.wanted.size(); ++r) {
    auto& q = asked.wanted[r].query;
    const auto first = static_cast<Position>(r * 131 % 650);
    q.visible =
        r % 9 == 0
            ? Span{0, 0}
            : Span{first, std::min<Position>(700, first + 1 + static_cast<Position>(r * 37 % 400))};
  }
  asked.expect_right(11);
}

// As few logits differ in the last bits alone: no product may decide between them.
TEST(Preselect, NeverDecidesWhatRoundingCouldTurnRound) {
  Asked<float> asked(1000, 64, 40, 2, 10);
  auto& keys = asked.problem.keys;
  for (std::size_t i = 0; i < 1000;
       ++i) {  // each key is that of one of 20 with a permutation of tiny changes
    for (std::size_t c = 0; c < 64; ++c) {
      keys[i * 64 + c] = keys[(i % 20) * 64 + c] *
                         (1 + static_cast<float>(static_cast<int>((i * 7 + c) % 3) - 1) * 0x1p-23f);
    }
  }
  asked.expect_right(1000);
}

// The worst that rounding can do, sought and found: of two keys whose canonical logits are in this order and as near as
// can be, the products turn the order round by as much as a search finds. Coordinate by coordinate it tries what moves a
// key's product furthest from the exact one, down for one key and up for the other; all stand beside one large
// coordinate, and about half of them is what rounding sees. So a bound a third of ours is found out.
struct WorstCase {
  std::size_t d;
  std::vector<float> query, keys;  // [d], [2, d]: the larger logit first

  explicit WorstCase(std::size_t columns) : d(columns), query(d, 0x1p-12f), keys(2 * d, 0.0f) {
    query[0] = 1;
    for (const float sign : {-1.0f, 1.0f}) {
      float* key = keys.data() + (sign < 0 ? 0 : d);
      key[0] = 1;
      for (std::size_t c = 1; c < d; ++c) {
        constexpr float kTried[] = {0, 0.5f, 1 - 0x1p-10f, 1 + 0x1p-10f, 1.5f, 2};
        float best = 0;
        double most = -std::numeric_limits<double>::infinity();
        for (const float x : kTried) {
          key[c] = x * 0x1p-12f;
          const double moved = static_cast<double>(sign) * (product(key) - exact(key));
          if (moved > most) best = key[c], most = moved;
        }
        key[c] = best;
      }
    }
    // The order of the logits is made what it has to be.
    while (logit(keys.data()) < logit(keys.data() + d)) keys[0] = std::nextafter(keys[0], 2.0f);
  }

  double product(const float* key) const {
    std::vector<float> panel(d * kPanel<float>);
    fill_panel<float>([&](std::size_t i) { return i == 0 ? query.data() : nullptr; }, d, panel.data());
    float first = 0;
    panel_product(key, 1, d, 1, panel.data(), d, [&](std::size_t, Vec<float> low, Vec<float>) HWY_ATTR {
      first = hn::GetLane(low);
    });
    return static_cast<double>(first);
  }
  double exact(const float* key) const {
    double sum = 0;
    for (std::size_t c = 0; c < d; ++c) sum += static_cast<double>(query[c]) * static_cast<double>(key[c]);
    return sum;
  }
  double logit(const float* key) const {
    Workspace ws;
    const ContiguousKv<float> kv{{key, 1, d}, {key, 1, d}};
    return static_cast<double>(logits(asked(), kv, ws).data[0]);
  }
  BasicQuery<float> asked(Position n = 1) const {
    BasicQuery<float> q;
    q.rows = {query.data(), 1, d};
    q.position = n - 1;
    q.logit.scale = 1;
    return q.resolved(n);
  }
  double length(const float* x) const {
    double squares = 0;
    for (std::size_t c = 0; c < d; ++c) squares += static_cast<double>(x[c]) * static_cast<double>(x[c]);
    return std::sqrt(squares);
  }
};

TEST(Preselect, KeepsTheLargestInTheWorstCaseThatASearchFinds) {
  for (const std::size_t d : {48u, 64u, 128u, 256u}) {
    const WorstCase worst(d);
    const float* keys = worst.keys.data();
    ASSERT_GE(worst.logit(keys), worst.logit(keys + d));
    // What Preselect allows for two products: each is off by (2 d + 8) half units in the last place of |q| |k|.
    const double allowed = 2 * (2 * static_cast<double>(d) + 8) * 0x1p-24 * worst.length(worst.query.data()) *
                           std::max(worst.length(keys), worst.length(keys + d));
    EXPECT_GE(worst.product(keys + d) - worst.product(keys), allowed / 3) << "a third of the bound is not reached";
    const ContiguousKv<float> kv{{keys, 2, d}, {keys, 2, d}};
    const Wanted<float> wanted{worst.asked(2), 1};
    Workspace ws;
    Preselect<float, ContiguousKv<float>> preselect(kv, &wanted, 1, ws);
    preselect.run();
    const auto found = preselect.candidates(0);
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found[0], 0) << "the larger logit was dropped, d " << d;
  }
}

TEST(Preselect, PagedIsFlat) {
  const Asked<BF16> asked(300, 40, 37, 4, 12);
  const auto flat = asked.candidates(asked.problem.kv());
  for (const std::size_t page : {1u, 3u, 16u, 256u}) {
    const test::InPages paged(asked.problem, page, test::Adjacency::kAdjacent);
    EXPECT_EQ(asked.candidates(paged.kv()), flat) << page;
  }
}

// Where rounding cannot be bounded it says so, and the caller asks every key.
TEST(Preselect, GivesUpOnWhatIsNotFiniteAndOnTies) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    Asked<float> key(300, 8, 20, 2, 5);
    key.problem.keys[17] = bad;
    for (const auto& found : key.candidates(key.problem.kv())) EXPECT_TRUE(found.empty());

    Asked<float> row(300, 8, 20, 2, 5);
    row.problem.q[3 * 16 + 9] = bad;
    const auto found = row.candidates(row.problem.kv());
    for (std::size_t r = 0; r < 20; ++r) EXPECT_EQ(found[r].empty(), r == 3) << r;
  }
  Asked<float> huge(300, 8, 20, 2, 5);
  for (float& x : huge.problem.keys) x *= 1e30f;
  for (const auto& found : huge.candidates(huge.problem.kv())) EXPECT_TRUE(found.empty());

  Asked<float> equal(300, 8, 20, 2, 5);
  std::fill(equal.problem.keys.begin(), equal.problem.keys.end(), 1.0f);
  for (const auto& found : equal.candidates(equal.problem.kv())) EXPECT_TRUE(found.empty());
}

}  // namespace
}  // namespace skim::HWY_NAMESPACE
