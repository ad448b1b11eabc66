// SPDX-License-Identifier: Apache-2.0
// Does LSH sampling select what collides, with the probability it says?
#include "skim/estimator/lsh.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "statistics/judge.h"
#include "support/indexes.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

// ---- the weight -------------------------------------------------------------------------------------------------

/// ln u at cosine c: the binomial tail, term by term from the smallest number of collisions on, in long double.
long double log_u_by_hand(const LshTail& e, long double c) {
  const auto pi = std::numbers::pi_v<long double>;
  const long double p = std::acos(-c) / pi, tables = static_cast<long double>(e.tables);
  const long double log_power = static_cast<long double>(e.bits) * std::log(p);
  const long double power = std::exp(log_power);
  if (power >= 1) return 0;
  long double sum = 0, log_choose = 0;  // relative to P^collisions
  for (std::size_t k = 1; k <= e.tables; ++k) {
    log_choose += std::log((tables - static_cast<long double>(k) + 1) / static_cast<long double>(k));
    if (k < e.collisions) continue;
    const auto more = static_cast<long double>(k - e.collisions), others = tables - static_cast<long double>(k);
    sum += std::exp(log_choose + more * log_power + others * std::log1p(-power));
  }
  return static_cast<long double>(e.collisions) * log_power + std::log(sum);
}

double log_u_of(const LshTail& e, double c) {
  using namespace HWY_NAMESPACE;
  const auto p = side_probability(hn::Set(Tag<double>(), c));
  return hn::GetLane(log_selected(e, p, log_missed(e, p)));
}

TEST(LshWeight, IsTheInclusionProbability) {
  std::vector<double> cosines;
  for (int i = -200; i <= 200; ++i) cosines.push_back(i / 200.0);
  for (double off = 1e-3; off > 1e-16; off /= 3) {
    cosines.push_back(1 - off);
    cosines.push_back(off - 1);
    cosines.push_back(off);
    cosines.push_back(-off);
  }
  double worst = 0;
  for (const std::size_t collisions : {1u, 2u}) {
    for (const std::size_t bits : {1u, 2u, 7u, 8u, 9u, 10u, 11u, 16u}) {
      for (const std::size_t tables : {2u, 3u, 20u, 75u, 150u, 300u, 1024u}) {
        const LshTail e{bits, tables, collisions};
        for (const double c : cosines) {
          const double log_u = log_u_of(e, c);
          if (c == -1) {
            EXPECT_EQ(log_u, -kInf);
            continue;
          }
          ASSERT_LE(log_u, 0);
          const double off = std::abs(log_u - static_cast<double>(log_u_by_hand(e, static_cast<long double>(c))));
          worst = std::max(worst, off);
          ASSERT_LE(off, 1e-7) << "cosine " << c << ", (" << bits << ", " << tables << "), " << collisions;
        }
        EXPECT_NEAR(log_u_of(e, 1), 0, 1e-15);
        EXPECT_EQ(log_u_of(e, 1 + 1e-6), log_u_of(e, 1)) << "rounding";
        EXPECT_EQ(log_u_of(e, -1 - 1e-6), -kInf);
      }
    }
  }
  EXPECT_LE(worst, 1e-8);
}

// The formulas as they are published.
TEST(LshWeight, IsThatOfTheSources) {
  for (const double c : {-0.5, 0.0, 0.186, 0.7}) {
    const double p = 1 - std::acos(c) / std::numbers::pi, power = std::pow(p, 8);
    EXPECT_NEAR(log_u_of({8, 75}, c), std::log(1 - std::pow(1 - power, 75) - 75 * power * std::pow(1 - power, 74)),
                1e-10);
    EXPECT_NEAR(log_u_of({8, 75, 1}, c), std::log(1 - std::pow(1 - power, 75)), 1e-10);
  }
  EXPECT_NEAR(std::exp(log_u_of({10, 150}, 0)), 0.0097, 5e-5);
  EXPECT_NEAR(std::exp(log_u_of({9, 120}, 0)), 0.0234, 5e-5);
  EXPECT_NEAR(std::exp(log_u_of({8, 75}, 0)), 0.0351, 5e-5);
}

// ---- what is selected -------------------------------------------------------------------------------------------

struct Expected {
  std::vector<Weighted> picks;   // ascending; the weight of what is known to rounding
  std::vector<Position> certain;
};

/// Plainly, in double: the pooled query's codes, collisions counted table by table, the angle to it.
template <class K>
Expected by_hand(const LshTail& e, const Query& query, const Problem<K>& p, const LshTables& tables,
                 const std::vector<bool>& taken) {
  const std::size_t d = p.shape.d, n = p.shape.n;
  const Query q = query.resolved(static_cast<Position>(n));
  std::vector<float> row(d);
  Workspace ws;
  const double length = HWY_NAMESPACE::pool_directions(q, row.data(), ws);
  std::vector<std::uint16_t> of_query(e.tables);
  HWY_NAMESPACE::hash_query(tables.planes(), e.tables, row.data(), of_query.data(), ws);
  const auto codes = codes_of(tables);
  const Matrix keys = numbers_of(p.keys, n, d);
  Expected expected;
  for (Position at = q.visible.first; at < q.visible.last; ++at) {
    const auto i = static_cast<std::size_t>(at);
    if (taken[i]) continue;
    bool certain = at >= tables.hashed();
    for (const Position none : LshAccess::unhashed(tables)) certain = certain || none == at;
    if (certain) {
      expected.certain.push_back(at);
      continue;
    }
    std::size_t met = 0;
    for (std::size_t t = 0; t < e.tables; ++t) met += codes[i][t] == of_query[t] ? 1u : 0u;
    if (met < e.collisions) continue;
    double product = 0, square = 0;
    for (std::size_t c = 0; c < d; ++c) {
      const double x = keys(i, c) - to_float(LshAccess::centres(tables)[i / tables.segment() * d + c]);
      product += x * double{row[c]};
      square += x * x;
    }
    const double both = std::sqrt(square) * length;
    const double cosine = both > 0 ? product / both : square == 0 && length == 0 ? 1 : 0;
    expected.picks.push_back({at, std::exp(-static_cast<double>(log_u_by_hand(e, static_cast<long double>(cosine))))});
  }
  return expected;
}

/// Whether `selection`, without the positions `taken`, is what is expected.
testing::AssertionResult is_expected(const Selection& selection, const Expected& expected,
                                     const std::vector<bool>& taken) {
  std::vector<double> weight(taken.size(), 0);
  for (const Weighted& w : list_of(selection)) weight[static_cast<std::size_t>(w.position)] = w.weight;
  std::vector<double> wanted(taken.size(), 0);
  for (const Weighted& w : expected.picks) wanted[static_cast<std::size_t>(w.position)] = w.weight;
  for (const Position at : expected.certain) wanted[static_cast<std::size_t>(at)] = 1;
  for (std::size_t i = 0; i < taken.size(); ++i) {
    if (taken[i]) continue;
    const bool is_certain =
        std::find(expected.certain.begin(), expected.certain.end(), static_cast<Position>(i)) != expected.certain.end();
    const double off = is_certain ? 0 : 2e-4 * wanted[i];  // a cosine in float; wide angles have steep weights
    if (std::abs(weight[i] - wanted[i]) > off) {
      return testing::AssertionFailure() << "position " << i << " has weight " << weight[i] << ", expected "
                                         << wanted[i];
    }
  }
  return testing::AssertionSuccess();
}

template <class K>
struct Lsh : testing::Test {};
using Storages = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(Lsh, Storages);

TYPED_TEST(Lsh, SelectsWhatCollides) {
  using K = TypeParam;
  std::mt19937_64 random(2);
  for (const std::size_t n : {1u, 255u, 256u, 700u, 1024u, 3500u}) {
    for (const std::size_t group : {1u, 4u}) {
      const std::size_t d = group == 1 ? 24 : 13;
      auto p = random_problem<K>({n, d, 4, group}, n + group);
      std::vector<double> row(d);
      for (std::size_t i = n / 2; i < n; ++i) {
        for (double& x : row) x = 4 + std::normal_distribution<double>()(random);
        store_row(row.data(), d, row_at(p.keys, i, d));
      }
      for (std::size_t i = 11; i < n; i += 577) fill_row(row_at(p.keys, i, d), d, i % 2 == 0 ? kNan : kInf);
      const LshTables tables = lsh_tables_of(p.kv(), 3, 20);
      const auto kv = with_index(p.kv(), tables);
      const std::vector<bool> none(n);
      for (const LshTail& e : {LshTail{3, 20}, LshTail{3, 7}, LshTail{3, 4, 1}}) {
        for (const bool part : {false, true}) {
          Query q = p.query();
          if (part) {
            q.visible.first = static_cast<Position>(n / 7);
            q.position = static_cast<Position>(n - n / 5 - 1);
          }
          ASSERT_TRUE(is_expected(select(e, q, kv), by_hand(e, q, p, tables, none), none))
              << n << " keys, group of " << group;
          for (std::size_t h = 0; h < group; ++h) {
            ASSERT_TRUE(is_expected(select(e, q.head(h), kv), by_hand(e, q.head(h), p, tables, none), none))
                << "head " << h;
          }
          // Of what earlier stages have left.
          const auto before = stack(Sinks{5}, Window{100}, TopK{n / 10});
          std::vector<bool> taken(n);
          for (const Weighted& w : list_of(select(before, q, kv))) taken[static_cast<std::size_t>(w.position)] = true;
          const Selection after = select(stack(before, e), q, kv);
          ASSERT_TRUE(is_expected(after, by_hand(e, q, p, tables, taken), taken));
          for (const Weighted& w : list_of(after)) {
            ASSERT_TRUE(!taken[static_cast<std::size_t>(w.position)] || w.weight == 1);
          }
        }
      }
    }
  }
}

TYPED_TEST(Lsh, PerHeadEachAsksForItself) {
  using K = TypeParam;
  const auto p = random_problem<K>({1500, 16, 8, 4}, 5);
  const LshTables tables = lsh_tables_of(p.kv(), 4, 30);
  const auto kv = with_index(p.kv(), tables);
  Query q = p.query();
  q.grouping = Grouping::kPerHead;
  State state = attend(LshTail{4, 30}, q, kv);
  for (std::size_t h = 0; h < 4; ++h) {
    const auto list = list_of(select(LshTail{4, 30}, q.head(h), kv));
    EXPECT_LT(list.size(), 900u);
    EXPECT_TRUE(agrees(state.view().head(h), p, q.head(h), list));
  }
  const InPages<K, K> pages(p, 7, Adjacency::kApart);
  State paged = attend(LshTail{4, 30}, q, with_index(pages.kv(), tables));
  EXPECT_TRUE(same_bits(paged.out(), state.out(), 4 * 8));
}

// What is scaled, capped or far away is selected alike: only the directions of query and keys count.
TEST(LshTail, LooksAtDirectionsAlone) {
  auto p = random_problem<float>({1500, 16, 8, 2}, 6);
  const LshTables tables = lsh_tables_of(p.kv(), 4, 30);
  const auto kv = with_index(p.kv(), tables);
  const float slopes[] = {0.1f, 0.2f};
  const auto plain = list_of(select(LshTail{4, 30}, p.query(), kv));
  Query q = p.query();
  q.logit = {.scale = 3, .soft_cap = 2, .alibi_slopes = slopes};
  const auto ruled = list_of(select(LshTail{4, 30}, q, kv));
  for (float& x : p.q) x *= 1024;
  const auto longer = list_of(select(LshTail{4, 30}, p.query(), kv));
  ASSERT_EQ(plain.size(), ruled.size());
  ASSERT_EQ(plain.size(), longer.size());
  for (std::size_t i = 0; i < plain.size(); ++i) {
    EXPECT_EQ(plain[i].position, ruled[i].position);
    EXPECT_EQ(plain[i].weight, ruled[i].weight);
    EXPECT_EQ(plain[i].position, longer[i].position);
    EXPECT_EQ(plain[i].weight, longer[i].weight);
  }
}

// Keys that are their centre, queries of nothing: a right angle, but for both together, whose codes are the same.
TEST(LshTail, OfVectorsWithoutADirection) {
  auto p = random_problem<float>({320, 4, 4, 2}, 7);
  std::fill(p.keys.begin(), p.keys.begin() + 200 * 4, 0.0f);  // 256 keys of mean zero
  for (std::size_t i = 200; i < 256; ++i) {
    for (std::size_t c = 0; c < 4; ++c)
      p.keys[i * 4 + c] = (i % 2 == 0 ? 1.0f : -1.0f) * static_cast<float>(1 + (i / 2 + c) % 3);
  }
  for (const bool query_is_zero : {false, true}) {
    if (query_is_zero) std::fill(p.q.begin(), p.q.end(), 0.0f);
    const double right_angle = std::exp(-static_cast<double>(log_u_by_hand({2, 9}, 0.0L)));
    std::size_t met = 0;
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      const LshTables tables = lsh_tables_of(p.kv(), 2, 9, seed);
      for (const BF16 x : LshAccess::centres(tables)) ASSERT_EQ(to_float(x), 0.0f);
      for (const Weighted& w : list_of(select(LshTail{2, 9}, p.query(), with_index(p.kv(), tables)))) {
        if (w.position >= 200) continue;
        ++met;
        EXPECT_NEAR(w.weight, query_is_zero ? 1 : right_angle, 1e-12);
      }
      State state = attend(LshTail{2, 9}, p.query(), with_index(p.kv(), tables));
      for (std::size_t i = 0; i < 8; ++i) EXPECT_TRUE(std::isfinite(state.out()[i]));
    }
    EXPECT_EQ(met == 20 * 200, query_is_zero);
    EXPECT_GT(met, 20u * 100);
  }
}

TEST(LshTail, ReadsWhatItSays) {
  const auto p = random_problem<BF16>({3 * 1024 + 500, 16, 8, 2}, 8);
  const LshTables tables = lsh_tables_of(p.kv(), 6, 40);
  Workspace ws;
  State state(2, 8);
  attend(LshTail{6, 20}, p.query(), with_index(p.kv(), tables), state.view(), ws);
  const auto list = list_of(select(LshTail{6, 20}, p.query(), with_index(p.kv(), tables)));
  const std::size_t exact = 500 - 448;
  EXPECT_EQ(ws.reads.values, list.size());
  EXPECT_EQ(ws.reads.keys, 2 * list.size() - exact);
  const auto codes = codes_of(tables);
  std::vector<float> row(16);
  std::vector<std::uint16_t> of_query(20);
  Workspace other;
  HWY_NAMESPACE::pool_directions(p.query(), row.data(), other);
  HWY_NAMESPACE::hash_query(tables.planes(), 20, row.data(), of_query.data(), other);
  std::size_t entries = 0;
  for (std::size_t i = 0; i < 3 * 1024; ++i) {
    for (std::size_t t = 0; t < 20; ++t) entries += codes[i][t] == of_query[t] ? 1u : 0u;
  }
  // Planes, two ends of a bucket for each part and table, what is in it, and codes.
  EXPECT_EQ(ws.reads.index_bytes, 6 * 20 * 16 * 4 + 3 * 20 * 4 + 2 * entries + 2 * 20 * 448);
}

TEST(LshTail, OfNothingAndOfFewKeys) {
  for (const std::size_t n : {0u, 1u, 255u}) {
    const auto p = random_problem<float>({n, 8, 4, 2}, n);
    const LshTables tables = lsh_tables_of(p.kv(), 3, 5);
    const Selection selection = select(LshTail{3, 5}, p.query(), with_index(p.kv(), tables));
    EXPECT_TRUE(selection.picks().empty());
    EXPECT_EQ(list_of(selection).size(), n);
    State state = attend(LshTail{3, 5}, p.query(), with_index(p.kv(), tables)),
          dense = attend(Dense{}, p.query(), p.kv());
    EXPECT_TRUE(same_bits(state.out(), dense.out(), 8));
  }
}

TEST(LshTail, Errors) {
  const auto p = random_problem<BF16>({64, 8, 4, 1}, 7);
  expect_error([&] { select(LshTail{3, 5}, p.query(), p.kv()); }, {"lsh", "with_index"});
  expect_error([&] { select(parse("sinks(4)+lsh(3,5)"), p.query(), p.kv()); }, {"lsh", "with_index"});
  const LshTables tables = lsh_tables_of(p.kv(), 3, 5);
  const auto kv = with_index(p.kv(), tables);
  expect_error([&] { select(LshTail{4, 5}, p.query(), kv); }, {"codes of 4 bits", "have 3"});
  expect_error([&] { attend(stack(Sinks{1}, LshTail{3, 6}), p.query(), kv); }, {"asks 6 tables", "has 5"});
  expect_error([&] { attend(parse("sinks(1)+lsh(3,6)"), p.query(), kv); }, {"asks 6 tables", "has 5"});
  std::vector<float> out(4, 7);
  const std::vector<IndexedKv<ContiguousKv<BF16>, LshTables>> heads = {kv};
  LayerQuery query;
  query.rows = {p.q.data(), 1, 1, 8};
  expect_error(
      [&] {
        attend(LshTail{2, 5}, query, LayerKv<IndexedKv<ContiguousKv<BF16>, LshTables>>{heads, 1},
               LayerState{{out.data(), 1, 1, 4}});
      },
      {"codes of 2 bits", "have 3"});
  EXPECT_EQ(out, std::vector<float>(4, 7)) << "before anything is written";
  const auto in_double = random_problem<double>({64, 8, 4, 1}, 7);
  expect_error([&] { select(LshTail{3, 5}, in_double.query(), with_index(in_double.kv(), tables)); }, {"not double"});
  expect_error([&] { select(TopK{3, Source::kLsh}, p.query(), kv); }, {"lsh", "ranks nothing"});
  expect_error([] { LshTail{0, 5}.validate(); }, {"bits is 0", "16"});
  expect_error([] { LshTail{17, 5}.validate(); }, {"bits is 17", "16"});
  expect_error([] { LshTail{3, 1}.validate(); }, {"tables is 1", "between 2"});
  expect_error([] { LshTail{3, 0, 1}.validate(); }, {"tables is 0", "between 1"});
  expect_error([] { LshTail{3, 1025}.validate(); }, {"tables is 1025", "1024"});
  expect_error([] { LshTail{3, 5, 3}.validate(); }, {"collisions is 3", "1 or 2"});
  EXPECT_EQ((LshTail{3, 5}.max_picks(1000)), 1000u);
  static_assert(stands_for_rest<LshTail>());
}

TEST(LshTail, AsText) {
  for (const char* text : {"lsh(10,150)", "sinks(4)+window(64)+lsh(10,150)", "lsh(8,75,collisions=1)"}) {
    EXPECT_EQ(to_text(parse(text)), text);
  }
  EXPECT_EQ(to_text(parse("lsh( 3 , 9 , collisions = 2 )")), "lsh(3,9)");
  EXPECT_EQ(to_text(LshTail{}), "lsh(10,150)");
  expect_error([] { parse("lsh(10)"); }, {"expected ','", "character 7"});
  expect_error([] { parse("lsh(10,150,tables=3)"); }, {"expected collisions"});
  expect_error([] { parse("lsh(20,150)"); }, {"bits is 20"});
  expect_error([] { parse("lsh(10,150)+topk(4)"); }, {"no stage can follow"});
  expect_error([] { parse("topk(4,by=lsh)"); }, {"expected keys"});
}

// ---- law 6, over planes -----------------------------------------------------------------------------------------
// Each position is selected as often as its weight says: counts over independent planes, judged by the exact binomial
// distribution (the judge's rates: statistics/judge.h). Positions of one run depend on each other, which Bonferroni
// does not mind.

struct Trial {
  LshTail tail;
  bool group = false;
  bool per_head = false;
};

/// Judges the inclusion of the hashed keys of a problem over `seeds` planes, by the weights of `weighed`: `tail`
/// itself, or one with a mistake.
void judge_inclusion(const Trial& trial, const LshTail& weighed, std::size_t seeds, Judge& judge) {
  constexpr std::size_t kN = 256 + 64;
  auto p = random_problem<float>({kN, 6, 1, trial.group ? 3u : 1u}, 11);
  std::fill_n(p.keys.begin() + 5 * 6, 6, 0.0f);
  for (std::size_t i = 0; i < 256; ++i) {  // a mean of zero, exactly; angles of all kinds
    for (std::size_t c = 0; c < 6; ++c)
      p.keys[i * 6 + c] = std::round(p.keys[i / 2 * 2 * 6 + c] * 8) / 8 * (i % 2 == 0 ? 1 : -1);
  }
  for (std::size_t i = 256; i < kN; ++i) {  // along the query, and against it
    for (std::size_t c = 0; c < 6; ++c)
      p.keys[i * 6 + c] = 0.2f * p.keys[i * 6 + c] + p.q[c] * (i % 3 == 0 ? -1.0f : 1.0f);
  }
  const Query q = trial.per_head ? p.query().head(2) : p.query();
  std::vector<std::uint64_t> times(kN, 0);
  std::vector<double> log_weight(kN, 0);
  for (std::uint64_t seed = 0; seed < seeds; ++seed) {
    const LshTables tables = lsh_tables_of(p.kv(), trial.tail.bits, trial.tail.tables, suite_seed() * 1000003 + seed);
    const Selection selection = select(trial.tail, q, with_index(p.kv(), tables));
    for (const Pick& pick : selection.picks()) {
      ++times[static_cast<std::size_t>(pick.position)];
      log_weight[static_cast<std::size_t>(pick.position)] = pick.log_weight;
    }
  }
  // The weight is the same every time. What was never selected has told none, and must be rare by another's reckoning.
  std::vector<float> row(6);
  Workspace ws;
  HWY_NAMESPACE::pool_directions(q, row.data(), ws);
  for (std::size_t i = 0; i < kN; ++i) {
    double product = 0, square = 0;
    for (std::size_t c = 0; c < 6; ++c) {
      product += double{row[c]} * double{p.keys[i * 6 + c]};
      square += std::pow(p.keys[i * 6 + c], 2);
    }
    const double cosine = square == 0 ? 0 : product / std::sqrt(square);
    const auto log_u = static_cast<double>(log_u_by_hand(trial.tail, static_cast<long double>(cosine)));
    if (times[i] != 0) {
      EXPECT_NEAR(log_weight[i], -log_u, 1e-4 * std::max(1.0, std::abs(log_u))) << "key " << i;
    }
    const double claimed = std::exp(static_cast<double>(log_u_by_hand(weighed, static_cast<long double>(cosine))));
    judge.count_is("key " + std::to_string(i), times[i], seeds, claimed);
  }
}

TEST(LshUnbiased, TwoCollisions) {
  for (const LshTail& e : {LshTail{1, 3}, LshTail{3, 10}, LshTail{5, 40}}) {
    Judge judge("lsh " + to_text(e));
    judge_inclusion({e}, e, 4000, judge);
    EXPECT_TRUE(judge.accepts());
  }
}

TEST(LshUnbiased, OneCollision) {
  Judge judge("lsh, one collision");
  judge_inclusion({{4, 6, 1}}, {4, 6, 1}, 4000, judge);
  EXPECT_TRUE(judge.accepts());
}

TEST(LshUnbiased, Groups) {
  for (const bool per_head : {false, true}) {
    Judge judge(per_head ? "lsh, a head of a group" : "lsh, a group");
    judge_inclusion({{3, 10}, true, per_head}, {3, 10}, 4000, judge);
    EXPECT_TRUE(judge.accepts());
  }
}

TEST(LshUnbiased, MistakesAreFound) {
  Judge one_for_two("two collisions weighed as one"), bits("a bit too many"), tables("a tenth more tables");
  judge_inclusion({{3, 10}}, {3, 10, 1}, 1000, one_for_two);
  EXPECT_TRUE(one_for_two.finds_fault());
  judge_inclusion({{3, 10}}, {4, 10}, 1000, bits);
  EXPECT_TRUE(bits.finds_fault());
  judge_inclusion({{3, 10}}, {3, 11}, 4000, tables);
  EXPECT_TRUE(tables.finds_fault());
}

}  // namespace
}  // namespace skim::test
