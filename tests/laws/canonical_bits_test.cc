// SPDX-License-Identifier: Apache-2.0
// Law 8: does the logit of a query row and a key have the same bits wherever it is computed?
#include <algorithm>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/layer_problem.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

constexpr std::size_t kLength = 83;
constexpr std::size_t kHeads = 8;
constexpr std::size_t kDims[] = {1, 3, 7, 8, 31, 46, 64, 80, 128};
constexpr float kSlopes[kHeads] = {0.5f, 0.25f, 0.3f, 0.125f, 0.7f, 0.01f, 0.02f, 0.9f};

/// Rows [first, first + count) of the query heads.
template <class K>
Query rows_of(const Problem<K>& p, std::size_t first, std::size_t count, const LogitRule& rule) {
  Query q = p.query();
  q.rows.data += first * p.shape.d;
  q.rows.rows = count;
  q.logit = rule;
  if (rule.alibi_slopes) q.logit.alibi_slopes += first;
  q.position = kLength - 1;
  return q;
}

/// The logits of all rows of `q` over what it sees, [rows, visible].
template <class Kv>
std::vector<float> logits_of(const Query& q, const Kv& kv) {
  Workspace ws;
  const Query resolved = q.resolved(kv.size());
  const auto s = logits(resolved, kv, ws);
  std::vector<float> all;
  const auto visible = static_cast<std::size_t>(resolved.visible.size());
  for (std::size_t h = 0; h < q.heads(); ++h) all.insert(all.end(), s.of_head(h), s.of_head(h) + visible);
  return all;
}

template <class K>
struct CanonicalBits : testing::Test {
  /// Calls visit(problem, rule, logits of each head alone, [kHeads, kLength]).
  template <class Visit>
  void for_each_problem(const Visit& visit) {
    const LogitRule rules[] = {{}, {.scale = 0.3, .soft_cap = 3, .alibi_slopes = kSlopes}};
    for (const std::size_t d : kDims) {
      for (const LogitRule& rule : rules) {
        SCOPED_TRACE(testing::Message() << "d " << d << (rule.soft_cap > 0 ? ", soft-cap and ALiBi" : ""));
        const auto p = random_problem<K>({kLength, d, 8, kHeads}, d);
        std::vector<float> alone;
        for (std::size_t h = 0; h < kHeads; ++h) {
          const auto one = logits_of(rows_of(p, h, 1, rule), p.kv());
          alone.insert(alone.end(), one.begin(), one.end());
        }
        visit(p, rule, alone);
      }
    }
  }
};
using Storages = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(CanonicalBits, Storages);

TYPED_TEST(CanonicalBits, InAGroupOfAnySize) {
  this->for_each_problem([](const auto& p, const LogitRule& rule, const std::vector<float>& alone) {
    for (std::size_t group = 1; group <= kHeads; ++group) {
      for (std::size_t first = 0; first + group <= kHeads; ++first) {
        const auto all = logits_of(rows_of(p, first, group, rule), p.kv());
        EXPECT_TRUE(same_bits(all.data(), alone.data() + first * kLength, group * kLength)) << first << ", " << group;
      }
    }
  });
}

TYPED_TEST(CanonicalBits, InPages) {
  this->for_each_problem([](const auto& p, const LogitRule& rule, const std::vector<float>& alone) {
    for (const std::size_t page_size : {1u, 3u, 16u, 256u}) {
      for (const Adjacency adjacency : {Adjacency::kApart, Adjacency::kAdjacent}) {
        const InPages<TypeParam, TypeParam> pages(p, page_size, adjacency);
        const auto all = logits_of(rows_of(p, 0, kHeads, rule), pages.kv());
        EXPECT_TRUE(same_bits(all.data(), alone.data(), kHeads * kLength)) << "pages of " << page_size;
      }
    }
  });
}

TYPED_TEST(CanonicalBits, WhereverTheVisibleRangeBegins) {
  this->for_each_problem([](const auto& p, const LogitRule& rule, const std::vector<float>& alone) {
    for (Position first = 0; first < static_cast<Position>(kLength); first += 5) {
      for (const Position count : {1, 2, 15, 16, 17}) {
        Query q = rows_of(p, 3, 1, rule);
        q.visible = {first, first + count};
        const auto part = logits_of(q, p.kv());
        EXPECT_TRUE(same_bits(part.data(), alone.data() + 3 * kLength + first, part.size())) << first << ", " << count;
      }
    }
  });
}

// The lse of a set of one position is its logit: so attention over a selection scores as selecting does,
// in a span and as a pick, whatever stands beside it.
TYPED_TEST(CanonicalBits, WhenAttendingToASelection) {
  this->for_each_problem([](const auto& p, const LogitRule& rule, const std::vector<float>& alone) {
    for (std::size_t group = 1; group <= kHeads; ++group) {
      const Query q = rows_of(p, 0, group, rule);
      for (Position i = 0; i < static_cast<Position>(kLength); i += 7) {
        Selection span, pick;
        span.add(skim::Span{i, i + 1});
        pick.add(i);
        const State of_span = attend(span, q, p.kv()), of_pick = attend(pick, q, p.kv());
        for (std::size_t h = 0; h < group; ++h) {
          const float logit = alone[h * kLength + static_cast<std::size_t>(i)];
          EXPECT_EQ(of_span.lse(h), logit) << "position " << i << ", head " << h << " of " << group;
          EXPECT_EQ(of_pick.lse(h), logit) << "position " << i << ", head " << h << " of " << group;
        }
      }
    }
  });
}

// Sums go by blocks of 16 positions, whatever spans they come in: cut between two blocks, a span gives the same bits.
TYPED_TEST(CanonicalBits, OfSumsOverASpanHoweverItIsCut) {
  this->for_each_problem([](const auto& p, const LogitRule& rule, const std::vector<float>&) {
    const auto n = static_cast<Position>(kLength);
    const Query q = rows_of(p, 0, kHeads, rule);
    for (const Position first : {0, 1, 5, 15, 17}) {
      Selection whole, cut;
      whole.add(skim::Span{first, n});
      for (Position at = first; at < n;) {
        const Position next = std::min(n, (at / 32 + 1) * 32);
        cut.add(skim::Span{at, next});
        at = next;
      }
      const State of_whole = attend(whole, q, p.kv()), of_cut = attend(cut, q, p.kv());
      EXPECT_TRUE(same_bits(of_cut.out(), of_whole.out(), kHeads * p.shape.d_v)) << "from " << first;
      for (std::size_t h = 0; h < kHeads; ++h) EXPECT_EQ(of_cut.lse(h), of_whole.lse(h)) << "from " << first;
    }
  });
}

// A key is a key: copies of it have one logit, wherever they lie in a block.
TYPED_TEST(CanonicalBits, OfEqualKeys) {
  for (const std::size_t d : kDims) {
    auto p = random_problem<TypeParam>({kLength, d, 8, kHeads}, d);
    for (std::size_t i = 1; i < kLength; ++i) {
      std::copy_n(p.keys.data(), row_values<TypeParam>(d), row_at(p.keys, i, d));
    }
    const auto all = logits_of(rows_of(p, 0, kHeads, {}), p.kv());
    for (std::size_t h = 0; h < kHeads; ++h) {
      for (std::size_t i = 0; i < kLength; ++i) EXPECT_EQ(all[h * kLength + i], all[h * kLength]) << "d " << d << ", key " << i;
    }
  }
}

std::vector<Position> picks_of(const Selection& selection) {
  std::vector<Position> positions;
  for (const Pick& pick : selection.picks()) positions.push_back(pick.position);
  return positions;
}

// So where the cut falls among equal keys, every path cuts alike. Nine kinds of keys, all their copies tied:
// the set is that of a stable sort of the logits, for a head in a group and alone, flat and in pages.
TYPED_TEST(CanonicalBits, TiesAreCutAlikeOnEveryPath) {
  constexpr std::size_t n = 900, d = 40;
  auto p = random_problem<TypeParam>({n, d, 8, 4}, 9);
  std::mt19937 generator(1);
  for (std::size_t i = 9; i < n; ++i) {
    std::copy_n(row_at(p.keys, generator() % 9, d), row_values<TypeParam>(d), row_at(p.keys, i, d));
  }
  for (std::size_t h = 1; h < 4; ++h) std::copy_n(p.q.begin(), d, p.q.begin() + static_cast<std::ptrdiff_t>(h * d));
  const Query group = p.query(), head = p.query().head(2);
  const auto s = logits_of(head, p.kv());
  std::vector<Position> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](Position a, Position b) {
    return s[static_cast<std::size_t>(a)] > s[static_cast<std::size_t>(b)];
  });
  const InPages<TypeParam, TypeParam> pages(p, 3, Adjacency::kApart);
  for (const std::size_t k : {1u, 50u, 99u, 100u, 101u, 333u, 500u, 899u}) {
    std::vector<Position> expected(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k));
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(picks_of(select(TopK{k}, group, p.kv())), expected) << k;
    EXPECT_EQ(picks_of(select(TopK{k}, head, p.kv())), expected) << k;
    EXPECT_EQ(picks_of(select(TopK{k}, group, pages.kv())), expected) << k;
    EXPECT_EQ(picks_of(select(stack(TopK{k / 2}, TopK{k - k / 2}), group, pages.kv())), expected) << k;
  }
}

// A row of a chunk selects what the same row selects when it is decoded alone, later or never.
TYPED_TEST(CanonicalBits, RowsOfAChunkSelectAsInDecoding) {
  const LayerProblem<TypeParam> p({4, 2, 46, 8}, {{9, 60}}, 10);
  const auto expect_same = [&](const auto& estimator) {
    LayerQuery query = p.query();
    LayerOutput chunk(p);
    attend(estimator, query, p.kv(), chunk.state());
    for (std::size_t r = 0; r < 9; ++r) {
      // The cache as it was when row r was the newest.
      const std::size_t n = 52 + r;
      std::vector<ContiguousKv<TypeParam>> views = p.views;
      for (auto& view : views) view.keys.rows = view.values.rows = n;
      LayerQuery one = query;
      one.row_begin = {};
      one.rows = {p.q.data() + r * 4 * 46, 1, 4, 46};
      Guarded<float> out(4 * 8), lse(4);
      attend(estimator, one, LayerKv<ContiguousKv<TypeParam>>{views, 2}, LayerState{{out.data(), 1, 4, 8}, lse.data()});
      EXPECT_TRUE(same_bits(out.data(), chunk.row(r, 0).out.data, 4 * 8)) << "row " << r;
      EXPECT_TRUE(same_bits(lse.data(), chunk.row(r, 0).lse, 4)) << "row " << r;
    }
  };
  expect_same(TopK{5});
  expect_same(stack(Sinks{2}, Window{3}, TopK{4}, PriorityTail{5}));
  expect_same(UniformTail{5});
}

}  // namespace
}  // namespace skim::test
