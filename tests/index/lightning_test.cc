// SPDX-License-Identifier: Apache-2.0
// Are a lightning indexer's scores its formula, and does attention read what they say?
#include "skim/index/lightning.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "skim/skim.h"
#include "support/guarded.h"
#include "support/problem.h"

namespace skim::test {
namespace {

/// An indexer of one token: queries and keys are those of a random problem, weights of both signs.
template <class K>
struct Indexer {
  Problem<K> p;
  std::vector<float> weights;

  Indexer(std::size_t heads, std::size_t d, std::size_t n, std::uint64_t seed)
      : p(random_problem<K>({n, d, 1, heads}, seed)), weights(heads) {
    std::mt19937_64 generator(seed);
    std::normal_distribution<float> normal(0.5f, 1);
    for (float& w : weights) w = normal(generator);
  }

  LightningQuery query() const { return {p.query().rows, weights}; }
  std::vector<float> scores() const {
    Workspace ws;
    std::vector<float> row(p.shape.n);
    lightning_scores(query(), p.kv().keys, row, ws);
    return row;
  }
};

/// The formula as a loop; `magnitude`: the sum of all that is added, for rounding.
struct Reference {
  double score = 0, magnitude = 0;
};
template <class K>
Reference reference_score(const Indexer<K>& indexer, std::size_t i) {
  const Matrix keys = numbers_of(indexer.p.keys, indexer.p.shape.n, indexer.p.shape.d);
  Reference r;
  for (std::size_t h = 0; h < indexer.p.shape.group; ++h) {
    std::vector<double> q;
    for (std::size_t c = 0; c < keys.cols; ++c) q.push_back(indexer.p.query().rows.row(h)[c]);
    if constexpr (std::is_same_v<K, I8>) round_row(q);
    double dot = 0, size = 0;
    for (std::size_t c = 0; c < keys.cols; ++c) {
      dot += q[c] * keys(i, c);
      size += std::abs(q[c] * keys(i, c));
    }
    const double w = indexer.weights[h];
    r.score += w * (dot < 0 ? 0 : dot);
    r.magnitude += std::abs(w) * size;
  }
  return r;
}

template <class K>
struct Lightning : testing::Test {};
using Storages = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(Lightning, Storages);

TYPED_TEST(Lightning, IsItsFormula) {
  for (const std::size_t heads : {1u, 2u, 3u, 5u, 64u}) {
    for (const std::size_t d : {1u, 7u, 16u, 33u, 128u}) {
      for (const std::size_t n : {1u, 7u, 15u, 16u, 17u, 40u}) {
        SCOPED_TRACE(testing::Message() << heads << " heads of " << d << ", " << n << " keys");
        const Indexer<TypeParam> indexer(heads, d, n, 100 * heads + d + n);
        const auto scores = indexer.scores();
        for (std::size_t i = 0; i < n; i += n < 20 ? 1 : 7) {
          const Reference r = reference_score(indexer, i);
          const double steps = std::sqrt(static_cast<double>(d)) + std::sqrt(static_cast<double>(heads)) + 4;
          EXPECT_NEAR(scores[i], r.score, 2 * steps * 0x1p-24 * r.magnitude) << "key " << i;
        }
      }
    }
  }
}

// A score has the same bits whatever stands beside its key, and nothing beyond the row is written.
TYPED_TEST(Lightning, AScoreIsOfItsKeyAlone) {
  const Indexer<TypeParam> indexer(5, 24, 50, 1);
  const auto all = indexer.scores();
  for (const std::size_t n : {1u, 2u, 15u, 16u, 17u, 33u}) {
    Workspace ws;
    Guarded<float> part(n);
    auto keys = indexer.p.kv().keys;
    keys.rows = n;
    lightning_scores(indexer.query(), keys, {part.data(), n}, ws);
    EXPECT_TRUE(same_bits(part.data(), all.data(), n)) << n;
    EXPECT_TRUE(part.fences_stand());
  }
}

TYPED_TEST(Lightning, AKeyThatIsNotFiniteHasNoScoreAndHarmsNoOther) {
  Indexer<TypeParam> indexer(3, 8, 20, 2);
  const auto before = indexer.scores();
  fill_row(row_at(indexer.p.keys, 4, 8), 8, kNan);
  const auto after = indexer.scores();
  for (std::size_t i = 0; i < 20; ++i) {
    if (i == 4) {
      EXPECT_TRUE(std::isnan(after[i]));
    } else {
      EXPECT_EQ(after[i], before[i]) << i;
    }
  }
}

TEST(LightningScores, BelowZeroCountsNothing) {
  const float q[] = {1, -1}, keys[] = {2, 3, -5, 0};  // dots: 2 -2, 3 -3, -5 5, 0 0
  const float weights[] = {10, 100};
  Workspace ws;
  std::vector<float> scores(4);
  lightning_scores(LightningQuery{{q, 2, 1}, weights}, Rows<const float>{keys, 4, 1}, scores, ws);
  EXPECT_EQ(scores, (std::vector<float>{20, 30, 500, 0}));
}

TEST(LightningScores, NoHeadsAndNoKeys) {
  Workspace ws;
  std::vector<float> scores(3, 7.0f), none;
  const float keys[] = {1, 2, 3};
  lightning_scores(LightningQuery{{nullptr, 0, 1}, {}}, Rows<const float>{keys, 3, 1}, scores, ws);
  EXPECT_EQ(scores, (std::vector<float>{0, 0, 0}));
  lightning_scores(LightningQuery{{keys, 1, 1}, std::span<const float>(scores).first(1)},
                   Rows<const float>{nullptr, 0, 1}, none, ws);
}

TEST(LightningScores, ShapesThatDoNotFit) {
  const Indexer<float> indexer(3, 8, 20, 3);
  Workspace ws;
  std::vector<float> scores(20);
  auto keys = indexer.p.kv().keys;
  expect_error([&] { lightning_scores(indexer.query(), keys, std::span<float>(scores).first(19), ws); }, {"19", "20"});
  keys.cols = 7;
  expect_error([&] { lightning_scores(indexer.query(), keys, scores, ws); }, {"8 columns", "7"});
  LightningQuery query = indexer.query();
  query.weights = query.weights.first(2);
  expect_error([&] { lightning_scores(query, indexer.p.kv().keys, scores, ws); }, {"2 weights", "3 rows"});
}

// From the indexer to attention: the k best scores are read, by every head of the group, and nothing else.
TEST(LightningScores, SayWhatIsRead) {
  constexpr std::size_t n = 200;
  const auto p = random_problem<BF16>({n, 16, 8, 4}, 5);
  const Indexer<BF16> indexer(6, 12, n, 6);
  const auto row = indexer.scores();
  const ExternalScores external{{row.data(), 1, n}, static_cast<Position>(n) - 1};
  const auto kv = with_index(p.kv(), external);
  std::vector<Position> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](Position a, Position b) {
    return row[static_cast<std::size_t>(a)] > row[static_cast<std::size_t>(b)];
  });
  for (const std::size_t k : {1u, 5u, 50u}) {
    std::vector<Weighted> best;
    std::sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k));
    for (std::size_t j = 0; j < k; ++j) best.push_back({order[j], 1});
    State state = attend(parse("topk(" + std::to_string(k) + ",by=external)"), p.query(), kv);
    EXPECT_TRUE(agrees(state.view(), p, p.query(), best)) << k;
  }
}

}  // namespace
}  // namespace skim::test
