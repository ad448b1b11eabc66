// SPDX-License-Identifier: Apache-2.0
// Does every estimator obey the laws? One suite, instantiated by a file for each storage type: Case is from
// cases.h, and SKIM_LAWS_STORAGE names the type of keys and values. (Law 3 is in cases.h, law 6 in the files
// *_exact_test.cc, law 8 in canonical_bits_test.cc.)
#include <algorithm>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "laws/allocations.h"
#include "laws/cases.h"
#include "support/layer_problem.h"
#include "support/layouts.h"
#include "support/threads.h"

namespace skim::test {
namespace {

using K = SKIM_LAWS_STORAGE;

constexpr std::size_t kGroups[] = {1, 2, 4, 7, 8};
constexpr std::size_t kSizes[] = {0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 33, 100, 300};
constexpr std::size_t kPageSizes[] = {1, 3, 16, 256};
constexpr Adjacency kAdjacencies[] = {Adjacency::kApart, Adjacency::kAdjacent};

/// Calls visit(problem, query) for problems of all sizes, groups and groupings, seeing all or a part.
template <class Visit>
void for_each_problem(const Visit& visit) {
  for (const std::size_t group : kGroups) {
    for (const std::size_t n : kSizes) {
      const auto p = random_problem<K>({n, 16, 8, group}, 100 * n + group);
      for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
        for (const bool part : {false, true}) {
          SCOPED_TRACE(testing::Message() << n << " keys, group of " << group << (part ? ", part visible" : "")
                                          << (grouping == Grouping::kPerHead ? ", per head" : ", per group"));
          Query q = p.query();
          q.grouping = grouping;
          q.stream = {n, 1, 2, 3};
          if (part) {
            q.visible.first = 3;
            q.position = static_cast<Position>(n / 2);
          }
          visit(p, q);
        }
      }
    }
  }
}

/// Calls visit(kv) with the problem flat and in pages, a page size and an arrangement at a time.
template <class Visit>
void for_each_layout(const Problem<K>& p, const Visit& visit) {
  visit(p.kv());
  for (const std::size_t page_size : kPageSizes) {
    for (const Adjacency adjacency : kAdjacencies) {
      SCOPED_TRACE(testing::Message() << "pages of " << page_size
                                      << (adjacency == Adjacency::kAdjacent ? ", K and V adjacent" : ""));
      const InPages<K, K> pages(p, page_size, adjacency);
      visit(pages.kv());
    }
  }
}

/// The queries that select on their own.
inline std::vector<Query> selecting(const Query& q) {
  if (q.grouping == Grouping::kPerGroup) return {q};
  std::vector<Query> heads;
  for (std::size_t h = 0; h < q.heads(); ++h) heads.push_back(q.head(h));
  return heads;
}

inline bool holds(const Selection& selection, Position i, double log_weight) {
  for (const skim::Span& span : selection.spans()) {
    if (span.contains(i)) return log_weight == 0;
  }
  for (const Pick& pick : selection.picks()) {
    if (pick.position == i) return pick.log_weight == log_weight;
  }
  return false;
}

template <class Case>
struct Laws : testing::Test {};
TYPED_TEST_SUITE_P(Laws);

TYPED_TEST_P(Laws, Law1_PositionsAreVisibleAndNoneIsTwice) {
  const auto estimator = TypeParam::some();
  for_each_problem([&](const Problem<K>& p, const Query& q) {
    for (const Query& one : selecting(q)) {
      const Selection selection = select(estimator, one, p.kv());
      const skim::Span visible = one.resolved(static_cast<Position>(p.shape.n)).visible;
      std::vector<bool> seen(p.shape.n);
      std::size_t count = 0;
      Position last = -1;
      for (const skim::Span& span : selection.spans()) {
        ASSERT_LT(last, span.first);
        ASSERT_LT(span.first, span.last);
        last = span.last - 1;
      }
      last = -1;
      for (const Pick& pick : selection.picks()) {
        ASSERT_LT(last, pick.position);
        last = pick.position;
      }
      for (const Weighted& w : list_of(selection)) {
        ASSERT_TRUE(visible.contains(w.position)) << w.position;
        ASSERT_FALSE(seen[static_cast<std::size_t>(w.position)]) << w.position;
        seen[static_cast<std::size_t>(w.position)] = true;
        ++count;
      }
      EXPECT_LE(count, estimator.max_picks(static_cast<std::size_t>(visible.size())));
    }
  });
}

TYPED_TEST_P(Laws, Law2_WhatIsNotSampledHasWeightOne) {
  for_each_problem([](const Problem<K>& p, const Query& q) {
    for (const Query& one : selecting(q)) {
      const Selection selection = select(TypeParam::some(), one, p.kv());
      const Selection exact = select(TypeParam::exact(), one, p.kv());
      std::size_t weightless = 0;
      for (const Weighted& w : list_of(exact)) {
        EXPECT_EQ(w.weight, 1.0);
        weightless += holds(selection, w.position, 0.0) ? 0u : 1u;
      }
      EXPECT_EQ(weightless, 0u) << "selected exactly by the same stages alone";
      for (const Pick& pick : selection.picks()) EXPECT_TRUE(std::isfinite(pick.log_weight));
    }
  });
}

TYPED_TEST_P(Laws, Law4_ABudgetForAllIsDense) {
  for_each_problem([](const Problem<K>& p, const Query& q) {
    State dense = attend(Dense{}, q, p.kv());
    for_each_layout(p, [&](const auto& kv) {
      State state = attend(TypeParam::all(), q, kv);
      EXPECT_TRUE(agrees_with_dense(state.view(), p, q));
      if (TypeParam::kPlain) {
        EXPECT_TRUE(same_bits(state.out(), dense.out(), p.shape.group * p.shape.d_v));
        EXPECT_TRUE(same_bits(state.view().lse, dense.view().lse, p.shape.group));
      }
    });
  });
}

// The fused call is what its parts are: select, then attend, both against the reference.
TYPED_TEST_P(Laws, AttentionIsThatOverTheSelection) {
  for_each_problem([](const Problem<K>& p, const Query& q) {
    State fused = attend(TypeParam::some(), q, p.kv());
    const std::vector<Query> parts = selecting(q);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const Selection selection = select(TypeParam::some(), parts[i], p.kv());
      State state = attend(selection, parts[i], p.kv());
      StateView of_part = fused.view();
      if (parts.size() > 1) of_part = of_part.head(i);
      EXPECT_TRUE(agrees(of_part, p, parts[i], list_of(selection)));
      EXPECT_TRUE(same_bits(state.out(), of_part.out.data, parts[i].heads() * p.shape.d_v));
      EXPECT_TRUE(same_bits(state.view().lse, of_part.lse, parts[i].heads()));
    }
  });
}

TYPED_TEST_P(Laws, PagesAndStridesChangeNoBit) {
  for_each_problem([](const Problem<K>& p, const Query& q) {
    State flat = attend(TypeParam::some(), q, p.kv());
    const auto expect_same = [&](const auto& kv) {
      State state = attend(TypeParam::some(), q, kv);
      EXPECT_TRUE(same_bits(state.out(), flat.out(), p.shape.group * p.shape.d_v));
      EXPECT_TRUE(same_bits(state.view().lse, flat.view().lse, p.shape.group));
    };
    for_each_layout(p, expect_same);
    expect_same(Strided<K, K>(p, 5, 3).kv());
  });
}

TYPED_TEST_P(Laws, Law5_EqualStreamGivesEqualBits) {
  const auto estimator = TypeParam::some();
  // Many units of work; and few, with chunks for several threads.
  const std::vector<std::vector<Sequence>> batches = {{{5, 60}, {1, 7}, {0, 9}, {9, 9}, {1, 300}}, {{1, 13000}}};
  for (const auto& batch : batches) {
    const LayerProblem<K> p({4, 2, 8, 8}, batch, batch.size());
    for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
      LayerQuery query = p.query();
      query.grouping = grouping;
      query.stream = {7, 8, 0, 0};
      std::vector<std::uint64_t> ids(batch.size());
      std::iota(ids.begin(), ids.end(), 1000);
      query.sequence_ids = ids;
      LayerOutput serial(p), again(p);
      attend(estimator, query, p.kv(), serial.state());
      attend(estimator, query, p.kv(), again.state());
      EXPECT_TRUE(same_bits(serial, again)) << "the same call again";
      for (const std::size_t threads : {1u, 2u, 3u, 7u}) {
        for (const Executor& executor : {real_threads(threads), backwards(threads)}) {
          LayerOutput output(p);
          Options options;
          options.executor = executor;
          attend(estimator, query, p.kv(), output.state(), options);
          EXPECT_TRUE(same_bits(serial, output)) << threads << " threads";
          EXPECT_TRUE(output.all_written());
        }
      }
    }
  }
}

TYPED_TEST_P(Laws, Law5_TheOrderOfTheBatchChangesNoBit) {
  const std::vector<Sequence> batch = {{5, 60}, {1, 7}, {0, 9}, {3, 40}};
  const LayerProblem<K> p({4, 2, 8, 8}, batch, 5);
  const std::vector<std::uint64_t> ids = {50, 3, 1u << 20, 7};
  LayerQuery query = p.query();
  query.sequence_ids = ids;
  LayerOutput expected(p);
  attend(TypeParam::some(), query, p.kv(), expected.state());

  const std::size_t order[] = {3, 0, 2, 1};
  std::vector<std::uint64_t> new_ids;
  std::vector<ContiguousKv<K>> views;
  std::vector<float> q;
  std::vector<std::size_t> row_begin = {0}, old_rows;
  for (const std::size_t s : order) {
    new_ids.push_back(ids[s]);
    views.insert(views.end(), {p.views[2 * s], p.views[2 * s + 1]});
    for (std::size_t r = p.row_begin[s]; r < p.row_begin[s + 1]; ++r) {
      q.insert(q.end(), p.q.data() + r * 4 * 8, p.q.data() + (r + 1) * 4 * 8);
      old_rows.push_back(r);
    }
    row_begin.push_back(old_rows.size());
  }
  query.rows.data = q.data();
  query.row_begin = row_begin;
  query.sequence_ids = new_ids;
  LayerOutput output(p);
  attend(TypeParam::some(), query, LayerKv<ContiguousKv<K>>{views, 2}, output.state());
  for (std::size_t r = 0; r < old_rows.size(); ++r) {
    EXPECT_TRUE(same_bits(output.row(r, 0).out.data, expected.row(old_rows[r], 0).out.data, 4 * 8));
    EXPECT_TRUE(same_bits(output.row(r, 0).lse, expected.row(old_rows[r], 0).lse, 4));
  }
}

TYPED_TEST_P(Laws, Law7_NothingIsAllocatedAfterWarmUp) {
  const auto estimator = TypeParam::some();
  Workspace ws;
  const auto large = random_problem<K>({300, 16, 8, 8}, 1), small = random_problem<K>({100, 16, 8, 3}, 2);
  const InPages<K, K> pages(large, 16, Adjacency::kApart);
  Guarded<float> out(8 * 8), lse(8);
  const auto run = [&](const Problem<K>& p, const auto& kv, Grouping grouping) {
    Query q = p.query();
    q.grouping = grouping;
    attend(estimator, q, kv, {{out.data(), p.shape.group, 8}, lse.data()}, ws);
  };
  const auto run_all = [&] {
    for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
      run(large, large.kv(), grouping);
      run(large, pages.kv(), grouping);
      run(small, small.kv(), grouping);
    }
  };
  run_all();
  std::size_t before = allocations();
  run_all();
  EXPECT_EQ(allocations() - before, 0u) << "one head";

  const LayerProblem<K> many({4, 2, 8, 8}, {{5, 60}, {1, 7}, {9, 9}}, 3), few({4, 2, 8, 8}, {{1, 13000}}, 4);
  LayerOutput many_out(many), few_out(few);
  for (const std::size_t threads : {1u, 4u}) {
    std::vector<Workspace> workspaces(threads);
    Options options;
    options.executor = backwards(threads);
    options.workspaces = workspaces;
    const auto run_layers = [&] {
      attend(estimator, many.query(), many.kv(), many_out.state(), options);
      attend(estimator, few.query(), few.kv(), few_out.state(), options);
    };
    run_layers();
    before = allocations();
    run_layers();
    EXPECT_EQ(allocations() - before, 0u) << "a layer on " << threads << " threads";
  }
}

REGISTER_TYPED_TEST_SUITE_P(Laws, Law1_PositionsAreVisibleAndNoneIsTwice, Law2_WhatIsNotSampledHasWeightOne,
                            Law4_ABudgetForAllIsDense, AttentionIsThatOverTheSelection, PagesAndStridesChangeNoBit,
                            Law5_EqualStreamGivesEqualBits, Law5_TheOrderOfTheBatchChangesNoBit,
                            Law7_NothingIsAllocatedAfterWarmUp);

/// Names the tests after their cases.
struct CaseName {
  template <class Case>
  static std::string GetName(int) {
    const std::string name = testing::internal::GetTypeName<Case>();
    return name.substr(name.rfind(':') + 1);
  }
};

}  // namespace
}  // namespace skim::test
