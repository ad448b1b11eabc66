// SPDX-License-Identifier: Apache-2.0
// Is exact top-k by page boxes what a look at every key gives, bit for bit, and does it look at few?
#include "skim/index/branch_and_bound-inl.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "skim/skim.h"
#include "support/layouts.h"
#include "support/problem.h"

namespace skim::test {
namespace {

/// Keys in runs of `run` that share a centre and differ from it by `noise`, in multiples of `step` (0: any number).
/// Logits have a standard deviation of about 1.5.
template <class K>
Problem<K> in_runs(const Shape& shape, std::size_t run, double noise, double step, std::uint64_t seed) {
  Problem<K> p = random_problem<K>(shape, seed);
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> centre(shape.d), row(shape.d);
  const auto rounded = [step](double x) { return step == 0 ? x : step * std::round(x / step); };
  for (std::size_t i = 0; i < shape.n; ++i) {
    if (i % run == 0) {
      for (double& x : centre) x = normal(random);
    }
    for (std::size_t c = 0; c < shape.d; ++c) row[c] = rounded(centre[c] + noise * normal(random));
    store_row(row.data(), shape.d, row_at(p.keys, i, shape.d));
  }
  return p;
}

template <class Kv>
PageBoxes boxes_of(const Kv& kv, std::size_t page_size = 16) {
  PageBoxes boxes(page_size);
  append(boxes, kv);
  return boxes;
}

TopK exactly(const Budget& budget) { return {.budget = budget, .by = Source::kBoxes, .exact = true}; }

testing::AssertionResult same(const Selection& a, const Selection& b) {
  if (a.picks().size() != b.picks().size()) {
    return testing::AssertionFailure() << a.picks().size() << " and " << b.picks().size() << " picks";
  }
  for (std::size_t j = 0; j < a.picks().size(); ++j) {
    if (a.picks()[j].position == b.picks()[j].position && a.picks()[j].log_weight == b.picks()[j].log_weight) continue;
    return testing::AssertionFailure() << "pick " << j << ": " << a.picks()[j].position << " and "
                                       << b.picks()[j].position;
  }
  if (a.spans().size() != b.spans().size()) return testing::AssertionFailure() << "other spans";
  for (std::size_t j = 0; j < a.spans().size(); ++j) {
    if (!(a.spans()[j] == b.spans()[j])) return testing::AssertionFailure() << "span " << j;
  }
  return testing::AssertionSuccess();
}

/// How many positions branch and bound leaves of a query for which nothing is selected; 0 when it gives up.
template <class Kv>
std::size_t left_of(const Query& q, const Kv& kv, const PageBoxes& boxes, std::size_t k) {
  Workspace ws;
  const Query resolved = q.resolved(kv.size());
  return HWY_NAMESPACE::possible_largest(boxes, k, resolved, kv, Selection{}, ws).size();
}

/// The same selection as by all keys, also after stages that have taken some. `tight`: it must come from a list.
template <class Kv>
void expect_exact(const Query& q, const Kv& kv, const PageBoxes& boxes, std::size_t k, bool tight = true) {
  const auto indexed = with_index(kv, boxes);
  if (tight) {
    const std::size_t left = left_of(q, kv, boxes, k);
    EXPECT_GE(left, k);
    EXPECT_LT(left, static_cast<std::size_t>(kv.size()) / 2);
  }
  EXPECT_TRUE(same(select(exactly(k), q, indexed), select(TopK{k}, q, kv)));
  EXPECT_TRUE(same(select(stack(Sinks{5}, Window{70}, exactly(k)), q, indexed),
                   select(stack(Sinks{5}, Window{70}, TopK{k}), q, kv)));
  EXPECT_TRUE(same(select(stack(exactly(k), exactly(k)), q, indexed), select(stack(TopK{k}, TopK{k}), q, kv)));
  EXPECT_TRUE(same(select(stack(TopK{3}, exactly(k)), q, indexed), select(stack(TopK{3}, TopK{k}), q, kv)));
}

constexpr float kMixedSlopes[] = {0.001f, -0.0005f, 0.0f, 0.002f};

template <class K>
class BranchAndBoundOf : public testing::Test {};
using KeyTypes = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(BranchAndBoundOf, KeyTypes);

TYPED_TEST(BranchAndBoundOf, IsTopK) {
  for (const std::size_t group : {1u, 2u, 4u}) {
    const auto p = in_runs<TypeParam>({8192 + 5, 32, 4, group}, 128, 0.02, 0, group);
    const PageBoxes boxes = boxes_of(p.kv());
    for (const LogitRule& rule : std::vector<LogitRule>{
             {},
             {.scale = -0.2},
             {.soft_cap = 5.0},
             {.alibi_slopes = kMixedSlopes},
             {.scale = 0.1, .soft_cap = 3.0, .alibi_slopes = kMixedSlopes}}) {
      Query q = p.query();
      q.logit = rule;
      for (const std::size_t k : {1u, 17u, 80u, 300u}) expect_exact(q, p.kv(), boxes, k);
    }
  }
}

// Hundreds of equal logits where the cut is: the lower positions win, whatever order pages were visited in.
TYPED_TEST(BranchAndBoundOf, TiesGoToTheLowerPosition) {
  for (const double noise : {0.0, 0.05}) {
    const auto p = in_runs<TypeParam>({8192, 8, 4, 2}, 512, noise, 0.25, 3);
    const PageBoxes boxes = boxes_of(p.kv());
    const Query q = p.query();
    Workspace ws;
    const Query resolved = q.resolved(8192);
    const auto s = logits(resolved, p.kv(), ws);
    std::vector<float> sorted(s.data, s.data + 8192);
    std::sort(sorted.begin(), sorted.end());
    std::size_t equal = 0;
    for (std::size_t i = 1; i < 8192; ++i) equal += sorted[i] == sorted[i - 1] ? 1u : 0u;
    EXPECT_GT(equal, 2000u);
    for (const std::size_t k : {1u, 10u, 100u, 511u, 512u, 513u, 700u}) expect_exact(q, p.kv(), boxes, k, k <= 512);
  }
}

TYPED_TEST(BranchAndBoundOf, InPagesAndWithinAVisibleRange) {
  const auto p = in_runs<TypeParam>({8192, 32, 4, 2}, 128, 0.02, 0, 9);
  const InPages<TypeParam, TypeParam> pages(p, 48, Adjacency::kAdjacent);
  for (const std::size_t page_size : {16u, 23u, 64u}) {
    const PageBoxes boxes = boxes_of(pages.kv(), page_size);
    for (const Span visible : {Span{0, 8192}, Span{1001, 8100}, Span{16, 6007}, Span{4000, 4010}, Span{5000, 5000}}) {
      Query q = p.query();
      q.visible = visible;
      // Pages of 64 of 128 equal keys: few clusters, so one query may find them all alike.
      expect_exact(q, pages.kv(), boxes, 40, visible.size() > 5000);
      q.position = 7000;
      expect_exact(q, pages.kv(), boxes, 40, false);
    }
  }
}

TYPED_TEST(BranchAndBoundOf, PerHeadAndInALayer) {
  const auto p = in_runs<TypeParam>({8192, 32, 16, 4}, 128, 0.02, 0, 4);
  const PageBoxes boxes = boxes_of(p.kv());
  Query q = p.query();
  q.grouping = Grouping::kPerHead;
  Workspace ws;
  BasicState<float> a(4, 16), b(4, 16);
  attend(stack(Sinks{4}, TopK{60}), q, p.kv(), a.view(), ws);
  attend(stack(Sinks{4}, exactly(60)), q, with_index(p.kv(), boxes), b.view(), ws);
  for (std::size_t h = 0; h < 4; ++h) {
    EXPECT_EQ(a.view().lse_of(h), b.view().lse_of(h));
    for (std::size_t c = 0; c < 16; ++c) EXPECT_EQ(a.view().out.row(h)[c], b.view().out.row(h)[c]);
  }
}

// NaN counts as -infinity; an infinite key may have the largest logit of all.
TYPED_TEST(BranchAndBoundOf, KeysThatAreNotFinite) {
  auto p = in_runs<TypeParam>({8192, 32, 4, 2}, 128, 0.02, 0, 5);
  fill_row(row_at(p.keys, 100, 32), 32, kNan);
  fill_row(row_at(p.keys, 5000, 32), 32, kInf);
  const PageBoxes boxes = boxes_of(p.kv());
  expect_exact(p.query(), p.kv(), boxes, 90);
  p.q[3] = std::numeric_limits<float>::quiet_NaN();
  expect_exact(p.query(), p.kv(), boxes, 90, false);
  p.q[40] = std::numeric_limits<float>::infinity();
  expect_exact(p.query(), p.kv(), boxes, 90, false);
  for (std::size_t i = 64; i < 8192; ++i) fill_row(row_at(p.keys, i, 32), 32, kNan);
  const PageBoxes hardly_any = boxes_of(p.kv());
  expect_exact(p.query(), p.kv(), hardly_any, 90, false);
}

// One cluster more than the others: k of one page, of a part of one, and of more than there are.
TYPED_TEST(BranchAndBoundOf, EveryBudget) {
  const auto p = in_runs<TypeParam>({2048 + 7, 16, 4, 1}, 64, 0.02, 0, 6);
  const PageBoxes boxes = boxes_of(p.kv());
  for (std::size_t k = 0; k < 2100; k += k < 20 ? 1 : 97) expect_exact(p.query(), p.kv(), boxes, k, false);
}

TEST(BranchAndBound, RandomProblems) {
  std::mt19937_64 random(11);
  std::size_t lists = 0;
  for (int i = 0; i < 150; ++i) {
    const std::size_t n = 1024 + random() % 6000, run = 16 + random() % 300, group = 1 + random() % 3;
    const double noise = 0.001 * std::pow(2.0, static_cast<double>(random() % 9)), step = random() % 2 ? 0.0 : 0.125;
    const auto p = in_runs<BF16>({n, 8 + random() % 40, 1, group}, run, noise, step, static_cast<std::uint64_t>(i));
    const PageBoxes boxes = boxes_of(p.kv(), 16 + random() % 20);
    const std::size_t k = 1 + random() % (n / 12);
    Query q = p.query();
    if (random() % 3 == 0) q.position = static_cast<Position>(n - random() % 100 - 1);
    lists += left_of(q, p.kv(), boxes, k) != 0 ? 1u : 0u;
    expect_exact(q, p.kv(), boxes, k, false);
    ASSERT_FALSE(testing::Test::HasFailure()) << "problem " << i;
  }
  EXPECT_GT(lists, 50u);
  EXPECT_LT(lists, 140u) << "no problem that boxes cannot help with";
}

/// Counts the keys that are asked for.
struct CountingKv {
  using Key = BF16;
  using Value = BF16;
  ContiguousKv<BF16> base;
  std::vector<bool>* seen;
  Position size() const { return base.size(); }
  std::size_t key_dim() const { return base.key_dim(); }
  std::size_t value_dim() const { return base.value_dim(); }
  const BF16* key(Position i) const {
    (*seen)[static_cast<std::size_t>(i)] = true;
    return base.key(i);
  }
  const BF16* value(Position i) const { return base.value(i); }
};

std::size_t keys_read(const TopK& estimator, const Problem<BF16>& p, const PageBoxes& boxes) {
  std::vector<bool> seen(p.shape.n);
  const CountingKv kv{p.kv(), &seen};
  select(estimator, p.query(), with_index(kv, boxes));
  return static_cast<std::size_t>(std::count(seen.begin(), seen.end(), true));
}

TEST(BranchAndBound, ReadsFewKeysWhereBoxesAreTight) {
  const auto p = in_runs<BF16>({32768, 64, 4, 1}, 256, 0.02, 0, 1);
  const PageBoxes boxes = boxes_of(p.kv());
  EXPECT_EQ(keys_read(TopK{327}, p, boxes), 32768u);
  EXPECT_LT(keys_read(exactly(327), p, boxes), 32768u / 8);
  // What a workspace has counted: the keys that were scored first are read twice.
  Workspace ws;
  BasicState<float> state(1, 4);
  attend(exactly(327), p.query(), with_index(p.kv(), boxes), state.view(), ws);
  EXPECT_LT(ws.reads.keys, 32768u / 6);
  EXPECT_GT(ws.reads.keys, 2u * 327u);
  EXPECT_LT(ws.reads.index_bytes, boxes.bytes() * 9 / 8);
  EXPECT_GE(ws.reads.index_bytes, boxes.bytes());
}

// Nobody looks for candidates among logits that are known.
TEST(BranchAndBound, ReadsNothingWhereLogitsAreKnown) {
  const auto p = in_runs<BF16>({8192, 64, 4, 1}, 256, 0.02, 0, 1);
  const PageBoxes boxes = boxes_of(p.kv());
  Workspace ws;
  BasicState<float> state(1, 4), other(1, 4);
  attend(stack(TopK{3}, exactly(80)), p.query(), with_index(p.kv(), boxes), state.view(), ws);
  EXPECT_EQ(ws.reads.keys, 8192u);
  EXPECT_EQ(ws.reads.index_bytes, 0u);
  attend(stack(TopK{3}, TopK{80}), p.query(), p.kv(), other.view(), ws);
  EXPECT_EQ(state.lse(), other.lse());
  // Nor are they lost where a stage scores candidates of its own.
  const auto estimator = stack(TopK{3}, TopK{20, Source::kBoxes, 100});
  const auto kv = with_index(p.kv(), boxes);
  attend(estimator, p.query(), kv, state.view(), ws);
  attend(select(estimator, p.query(), kv), p.query(), kv, other.view(), ws);
  EXPECT_EQ(state.lse(), other.lse());
  for (std::size_t c = 0; c < 4; ++c) EXPECT_EQ(state.out()[c], other.out()[c]);
}

// A sample of pages is enough to see that: every key is then read once, and of the boxes hardly any.
TEST(BranchAndBound, GivesUpSoonWhereBoxesAreLoose) {
  for (const std::size_t n : {2048u, 32768u}) {
    const auto p = random_problem<BF16>({n, 64, 4, 1}, 1);
    const PageBoxes boxes = boxes_of(p.kv());
    EXPECT_EQ(left_of(p.query(), p.kv(), boxes, n / 100), 0u);
    expect_exact(p.query(), p.kv(), boxes, n / 100, false);
    Workspace ws;
    BasicState<float> state(1, 4);
    attend(exactly(n / 100), p.query(), with_index(p.kv(), boxes), state.view(), ws);
    EXPECT_LE(ws.reads.index_bytes, boxes.bytes() / (n == 2048 ? 4 : 16));
    EXPECT_LE(ws.reads.keys, n + n / 50);
  }
}

}  // namespace
}  // namespace skim::test
