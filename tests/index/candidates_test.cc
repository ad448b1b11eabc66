// SPDX-License-Identifier: Apache-2.0
// Do the bounds of 8-bit keys hold, whatever keys and queries are like; and is top-k by them top-k, bit for bit?
#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "support/indexes.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

namespace kernel = HWY_NAMESPACE;

constexpr float kSlopes[] = {0.05f, 0.025f, 0.03f, 0.0125f, 0.07f, 0.001f, 0.002f, 0.09f};

struct Rule {
  const char* name;
  LogitRule rule;
};
const Rule kRules[] = {
    {"plain", {}},
    {"soft-cap", {.soft_cap = 3}},
    {"ALiBi", {.alibi_slopes = kSlopes}},
    {"negative scale", {.scale = -0.7}},
    {"the least scale", {.scale = 0x1p-126}},
    {"soft-cap, ALiBi, negative", {.scale = -0.3, .soft_cap = 5, .alibi_slopes = kSlopes}},
    {"a tight soft-cap", {.scale = 1, .soft_cap = 0.01}},
};

/// What keys and queries may be like. Each changes rows of doubles before they are stored.
using Row = std::vector<double>;
using Random = std::mt19937_64;
struct Kind {
  const char* name;
  std::function<void(Row&, std::size_t, Random&)> key, query;
};

void nothing(Row&, std::size_t, Random&) {}

void scale_by(Row& row, double factor) {
  for (double& x : row) x *= factor;
}

/// 2^low to 2^high.
double power_of_two(Random& random, int low, int high) {
  return std::ldexp(1.0, low + static_cast<int>(random() % static_cast<unsigned>(high - low + 1)));
}

const Kind kKinds[] = {
    {"normal", nothing, nothing},
    {"outlier channels",
     [](Row& row, std::size_t, Random&) {
       for (std::size_t c = 1; c < row.size(); c += 17) row[c] += 12;
     },
     nothing},
    {"keys of every length", [](Row& row, std::size_t, Random& random) { scale_by(row, power_of_two(random, -30, 30)); },
     nothing},
    {"keys that hardly differ", [](Row& row, std::size_t, Random&) {
       for (double& x : row) x = 5 + 1e-3 * x;
     }, nothing},
    {"keys alike", [](Row& row, std::size_t, Random&) { std::fill(row.begin(), row.end(), 0.7); }, nothing},
    {"denormal keys", [](Row& row, std::size_t, Random& random) { scale_by(row, power_of_two(random, -149, -120)); },
     nothing},
    {"denormal queries", nothing,
     [](Row& row, std::size_t h, Random&) { scale_by(row, std::ldexp(1.0, -149 + 4 * static_cast<int>(h))); }},
    {"denormal queries, keys alike", [](Row& row, std::size_t i, Random&) { std::fill(row.begin(), row.end(), i % 3 ? 0.7 : 0.3); },
     [](Row& row, std::size_t h, Random&) { scale_by(row, std::ldexp(1.0, -147 + 4 * static_cast<int>(h))); }},
    {"huge keys", [](Row& row, std::size_t, Random& random) { scale_by(row, power_of_two(random, 40, 126)); }, nothing},
    {"huge queries", nothing,
     [](Row& row, std::size_t h, Random&) { scale_by(row, std::ldexp(1.0, 90 + 12 * static_cast<int>(h))); }},
    {"huge queries, small keys", [](Row& row, std::size_t, Random&) { scale_by(row, 1e-3); },
     [](Row& row, std::size_t h, Random&) { scale_by(row, std::ldexp(1.0, 113 + 4 * static_cast<int>(h))); }},
    {"huge both", [](Row& row, std::size_t, Random& random) { scale_by(row, power_of_two(random, 55, 64)); },
     [](Row& row, std::size_t, Random&) { scale_by(row, 0x1p62); }},
    {"keys not finite", [](Row& row, std::size_t, Random& random) {
       const auto c = random() % row.size();
       switch (random() % 12) {
         case 0: row[c] = kNan; break;
         case 1: row[c] = kInf; break;
         case 2: row[c] = -kInf; break;
         default: break;
       }
     }, nothing},
    {"a query not finite", nothing, [](Row& row, std::size_t h, Random&) {
       if (h == 1) row[0] = kNan;
       if (h == 2) row[row.size() / 2] = -kInf;
     }},
    // All that rounding to 16 bits takes from the query counts: codes are exact, and the lost parts have one sign.
    {"a query that rounding takes apart",
     [](Row& row, std::size_t i, Random&) { std::fill(row.begin(), row.end(), i % 2 == 0 ? 127.0 : -127.0); },
     [](Row& row, std::size_t, Random&) {
       std::fill(row.begin(), row.end(), 0.49);
       row[0] = 32767;
     }},
    {"one channel only", [](Row& row, std::size_t, Random&) { std::fill(row.begin() + 1, row.end(), 0.0); },
     [](Row& row, std::size_t, Random&) { std::fill(row.begin() + 1, row.end(), 0.0); }},
};

/// A problem of a kind.
template <class K>
Problem<K> problem_of(const Kind& kind, const Shape& shape, std::uint64_t seed) {
  auto p = random_problem<K>(shape, seed);
  Random random(seed + 1);
  std::normal_distribution<double> normal;
  Row row(shape.d);
  for (std::size_t i = 0; i < shape.n; ++i) {
    for (double& x : row) x = normal(random);
    kind.key(row, i, random);
    store_row(row.data(), shape.d, row_at(p.keys, i, shape.d));
  }
  for (std::size_t h = 0; h < shape.group; ++h) {
    for (double& x : row) x = 1.5 * normal(random);
    kind.query(row, h, random);
    for (std::size_t c = 0; c < shape.d; ++c) p.q[h * shape.d + c] = static_cast<float>(row[c]);
  }
  return p;
}

/// The largest canonical logit of the heads, NaN as -inf: what a group goes by.
template <class Kv>
std::vector<float> pooled_logits(const Query& resolved, const Kv& kv) {
  Workspace ws;
  const auto s = logits(resolved, kv, ws);
  std::vector<float> pooled(static_cast<std::size_t>(resolved.visible.size()), -INFINITY);
  for (std::size_t h = 0; h < resolved.heads(); ++h) {
    for (std::size_t i = 0; i < pooled.size(); ++i) {
      if (s.of_head(h)[i] > pooled[i]) pooled[i] = s.of_head(h)[i];
    }
  }
  return pooled;
}

template <class K>
struct BoundsOf : testing::Test {};
using Storages = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(BoundsOf, Storages);

// Four storages, 16 kinds, 7 rules, five groups of 7 heads in all and 2 x 512 keys: 3 million pairs.
TYPED_TEST(BoundsOf, AreNeverViolated) {
  std::size_t pairs = 0, useful = 0, all = 0;
  for (const Kind& kind : kKinds) {
    for (const std::size_t d : {16u, 75u}) {
      constexpr std::size_t n = 512;
      const auto p = problem_of<TypeParam>(kind, {n, d, 1, 4}, d);
      const Sketch8 sketch = sketch_of<Sketch8>(p.kv());
      for (const Rule& rule : kRules) {
        for (const auto& [first_head, heads] : {std::pair<std::size_t, std::size_t>{0, 4}, {0, 1}, {1, 1}, {2, 1}, {3, 1}}) {
          SCOPED_TRACE(testing::Message() << kind.name << ", " << rule.name << ", d " << d << ", " << heads << " heads from "
                                          << first_head);
          Query q = p.query();
          q.logit = rule.rule;
          q.rows.data += first_head * d;
          q.rows.rows = heads;
          q = q.resolved(n);
          const auto exact = pooled_logits(q, p.kv());
          Workspace ws;
          const auto queries = kernel::sketch_queries(q, sketch, ws);
          std::vector<float> low(n, NAN), high(n, NAN);
          kernel::sketch_bounds(q, sketch, queries, {0, n}, {low.data(), high.data()}, ws);
          for (std::size_t i = 0; i < n; ++i) {
            if (is_unsketched(sketch, i)) continue;  // nobody asks for its bounds
            ASSERT_LE(low[i], exact[i]) << "key " << i;
            ASSERT_GE(high[i], exact[i]) << "key " << i;
            pairs += heads;
            ++all;
            useful += high[i] - low[i] < 0.2f * (1 + std::abs(exact[i])) ? 1u : 0u;
          }
        }
      }
    }
  }
  EXPECT_GT(pairs, 500'000u);
  EXPECT_GT(useful, all / 3) << "a bound that says nothing always holds";
}

// ---- top-k by bounds --------------------------------------------------------------------------------------------

constexpr TopK exact_by_sketch(const Budget& k) { return {.budget = k, .by = Source::kSketch8, .exact = true}; }

/// The same positions as by reading every key, for a group and for each of its heads, flat and in pages; alone and
/// after sinks and a window.
template <class K>
void expect_brute_force(const Problem<K>& p, const Query& query, const Sketch8& sketch, const std::vector<std::size_t>& budgets) {
  const InPages<K, K> pages(p, 16, Adjacency::kAdjacent);
  std::vector<Query> queries = {query};
  if (query.heads() > 1) {
    for (std::size_t h = 0; h < query.heads(); ++h) queries.push_back(query.head(h));
  }
  for (const Query& q : queries) {
    for (const std::size_t k : budgets) {
      const auto expected = unweighted_positions_of(select(TopK{k}, q, p.kv()));
      ASSERT_EQ(unweighted_positions_of(select(exact_by_sketch(k), q, with_index(p.kv(), sketch))), expected) << "k " << k;
      ASSERT_EQ(unweighted_positions_of(select(exact_by_sketch(k), q, with_index(pages.kv(), sketch))), expected) << "k " << k;
      const auto rest = unweighted_positions_of(select(stack(Sinks{5}, Window{33}, TopK{k}), q, p.kv()));
      ASSERT_EQ(unweighted_positions_of(select(stack(Sinks{5}, Window{33}, exact_by_sketch(k)), q, with_index(p.kv(), sketch))), rest)
          << "k " << k << " after sinks and window";
      // After a stage that reads every key the logits are known, and not computed again.
      ASSERT_EQ(unweighted_positions_of(select(stack(TopK{7}, exact_by_sketch(k)), q, with_index(p.kv(), sketch))),
                unweighted_positions_of(select(stack(TopK{7}, TopK{k}), q, p.kv())))
          << "k " << k << " after top-k";
    }
  }
}

TYPED_TEST(BoundsOf, TopKByThemIsTopK) {
  std::size_t seed = 0;
  for (const Kind& kind : kKinds) {
    for (const Rule& rule : kRules) {
      const std::size_t n = 700 + 37 * (seed % 5);
      SCOPED_TRACE(testing::Message() << kind.name << ", " << rule.name << ", " << n << " keys");
      const auto p = problem_of<TypeParam>(kind, {n, 40, 1, 1 + seed % 4}, seed + 1);
      ++seed;
      Query q = p.query();
      q.logit = rule.rule;
      expect_brute_force(p, q, sketch_of<Sketch8>(p.kv()), {1, 9, 70});
    }
  }
}

TYPED_TEST(BoundsOf, ForAnyNumberOfKeys) {
  for (const std::size_t n : {0u, 1u, 2u, 17u, 255u, 256u, 257u, 300u, 511u, 512u, 1000u, 4096u, 5000u, 8192u, 9001u}) {
    SCOPED_TRACE(n);
    const auto p = random_problem<TypeParam>({n, 32, 1, 2}, n);
    expect_brute_force(p, p.query(), sketch_of<Sketch8>(p.kv()), {1, n / 100, n / 20, n / 3, n - n / 10, n, n + 5});
  }
}

TYPED_TEST(BoundsOf, WhateverIsVisible) {
  constexpr Position n = 1500;
  const auto p = random_problem<TypeParam>({n, 24, 1, 2}, 1);
  const Sketch8 sketch = sketch_of<Sketch8>(p.kv());
  const Position edges[] = {0, 1, 15, 17, 255, 256, 300, 700, 1024, 1279, 1280, 1400, 1499, n};
  for (const Position first : edges) {
    for (const Position last : edges) {
      if (last <= first) continue;
      SCOPED_TRACE(testing::Message() << first << " to " << last);
      Query q = p.query();
      q.visible = {first, last};
      expect_brute_force(p, q, sketch, {3, 40});
    }
  }
}

// Nine kinds of keys, hundreds of copies of each: the cut goes through copies, in the sketch and behind it.
TYPED_TEST(BoundsOf, TiesAreCutAlike) {
  constexpr std::size_t n = 2000, d = 40;
  auto p = random_problem<TypeParam>({n, d, 1, 3}, 1);
  Random random(1);
  for (std::size_t i = 9; i < n; ++i) {
    std::copy_n(row_at(p.keys, random() % 9, d), row_values<TypeParam>(d), row_at(p.keys, i, d));
  }
  expect_brute_force(p, p.query(), sketch_of<Sketch8>(p.kv()), {1, 50, 100, 222, 223, 333, 500, 1000, 1999});
}

// Logits that differ in their last bits: what the bounds cannot tell apart the keys must.
TYPED_TEST(BoundsOf, NearTiesAreCutAlike) {
  constexpr std::size_t n = 1200, d = 33;
  auto p = random_problem<TypeParam>({n, d, 1, 2}, 2);
  Row row(d);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t c = 0; c < d; ++c) row[c] = 1 + 1e-7 * static_cast<double>((i * 7919 + c * 104729) % 1000);
    store_row(row.data(), d, row_at(p.keys, i, d));
  }
  expect_brute_force(p, p.query(), sketch_of<Sketch8>(p.kv()), {1, 10, 100, 600});
}

// ---- what it reads ----------------------------------------------------------------------------------------------

/// Keys read by one call.
template <class Kv>
std::uint64_t keys_read(const auto& estimator, const Query& q, const Kv& kv) {
  Workspace ws;
  State state(q.heads(), kv.value_dim());
  attend(estimator, q, kv, state.view(), ws);
  return ws.reads.keys;
}

TEST(Candidates, AreFewWhereKeysAreSpread) {
  const auto p = random_problem<BF16>({20000, 128, 1, 1}, 1);
  const Sketch8 sketch = sketch_of<Sketch8>(p.kv());
  // 1.5 % named candidates for 1 % in 131,072 keys; then the 200 are read again.
  EXPECT_LT(keys_read(exact_by_sketch(200), p.query(), with_index(p.kv(), sketch)), 20000u / 20);
  EXPECT_EQ(keys_read(TopK{200}, p.query(), p.kv()), 20000u);
}

// Bounds that say nothing: keys that hardly differ, so every key is read, once; and the answer is the same.
TEST(Candidates, LooseBoundsFallBackToAllKeys) {
  for (const std::size_t n : {2000u, 20000u}) {  // below and above what is worth a sample
    auto p = random_problem<float>({n, 32, 1, 1}, 2);
    for (std::size_t i = 0; i < n; ++i) {
      // One channel that the query does not see makes every scale large.
      for (std::size_t c = 0; c < 32; ++c) p.keys[i * 32 + c] *= 1e-3f;
      p.keys[i * 32 + 31] = i % 2 == 0 ? 100.0f : -100.0f;
    }
    p.q[31] = 0;
    const Sketch8 sketch = sketch_of<Sketch8>(p.kv());
    const auto kv = with_index(p.kv(), sketch);
    EXPECT_EQ(keys_read(exact_by_sketch(20), p.query(), kv), n);
    EXPECT_EQ(unweighted_positions_of(select(exact_by_sketch(20), p.query(), kv)), unweighted_positions_of(select(TopK{20}, p.query(), p.kv())));
  }
}

// A budget of candidates: those that the index ranks first, and the keys decide among them.
TEST(Candidates, AreTheFirstByTheIndex) {
  const auto p = random_problem<float>({1000, 32, 1, 3}, 3);
  const Sketches sketches(p.kv());
  const auto kv = sketches.beside(p.kv());
  for (const Source by : {Source::kSketch1, Source::kSketch4, Source::kSketch8}) {
    for (const std::size_t candidates : {10u, 40u, 200u}) {
      const auto named = unweighted_positions_of(select(TopK{candidates, by}, p.query(), kv));
      ASSERT_EQ(named.size(), candidates);
      const auto exact = pooled_logits(p.query().resolved(1000), p.kv());
      std::vector<Position> expected = named;
      std::stable_sort(expected.begin(), expected.end(), [&](Position a, Position b) {
        return exact[static_cast<std::size_t>(a)] > exact[static_cast<std::size_t>(b)];
      });
      expected.resize(10);
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(unweighted_positions_of(select(TopK{10, by, candidates}, p.query(), kv)), expected) << name_of(by) << ", " << candidates;
    }
  }
}

/// Selects what it is told to, and computes no logits.
struct Given {
  std::vector<Position> positions;

  void validate() const {}
  std::size_t max_picks(std::size_t) const { return positions.size(); }
  void select(const Query&, const auto&, Selection& selection, Workspace&) const {
    for (const Position i : positions) selection.add(i);
  }
};

// Beside logits that an earlier stage has left, as where nobody knows any, wherever the visible range begins.
TEST(Candidates, BesideKnownLogits) {
  const auto p = random_problem<float>({1000, 32, 1, 2}, 6);
  const Sketches sketches(p.kv());
  const auto kv = sketches.beside(p.kv());
  for (const Position first : {0, 1, 100, 333}) {
    Query q = p.query();
    q.visible.first = first;
    const Given same{unweighted_positions_of(select(TopK{7}, q, p.kv()))};
    const TopK ten{10, Source::kSketch4, 40};
    EXPECT_EQ(unweighted_positions_of(select(stack(TopK{7}, ten), q, kv)), unweighted_positions_of(select(stack(same, ten), q, kv))) << first;
  }
}

TEST(Candidates, NoFewerThanAreSelected) {
  const auto p = random_problem<float>({600, 16, 1, 1}, 4);
  const Sketches sketches(p.kv());
  const auto kv = sketches.beside(p.kv());
  const Budget few[] = {1, fraction(0), fraction(0.01)};
  for (const Budget& candidates : few) {
    EXPECT_EQ(unweighted_positions_of(select(TopK{50, Source::kSketch4, candidates}, p.query(), kv)),
              unweighted_positions_of(select(TopK{50, Source::kSketch4}, p.query(), kv)));
  }
}

// As many candidates as there are keys: top-k.
TEST(Candidates, AllOfThemIsTopK) {
  const auto p = random_problem<float>({600, 16, 1, 2}, 5);
  const Sketches sketches(p.kv());
  EXPECT_EQ(unweighted_positions_of(select(TopK{50, Source::kSketch1, 1000}, p.query(), sketches.beside(p.kv()))),
            unweighted_positions_of(select(TopK{50}, p.query(), p.kv())));
}

}  // namespace
}  // namespace skim::test
