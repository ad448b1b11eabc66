// SPDX-License-Identifier: Apache-2.0
// Do estimators that go by an index obey the laws? One suite, instantiated by a file for each storage type:
// SKIM_LAWS_STORAGE names the type of keys and values, SKIM_LAWS_SUITE(x) the suites. Estimators are text, one type for
// all of them. (Law 6 is in
// proposal_exact_test.cc.)
#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "laws/allocations.h"
#include "support/indexes.h"
#include "support/layer_problem.h"
#include "support/layouts.h"
#include "support/threads.h"

namespace skim::test {
namespace {

using K = SKIM_LAWS_STORAGE;

/// As in cases.h: `some` selects a few, `all` has budgets for everything, `exact` are the stages that are not sampled.
struct IndexedCase {
  const char* name;
  const char* some;
  const char* all;
  const char* exact;
  bool plain;       // `all` selects one run of everything
  bool by_keys = false;  // the answer is that of the keys, whatever the index holds
};

constexpr IndexedCase kCases[] = {
    {"TopKBySketch1", "topk(7,by=sketch1)", "topk(1000000,by=sketch1)", "topk(7,by=sketch1)", true},
    {"TopKAmongCandidates", "topk(7,by=sketch4,candidates=20)", "topk(1000000,by=sketch4,candidates=20)",
     "topk(7,by=sketch4,candidates=20)", true},
    {"TopKByBounds", "topk(7,by=sketch8,exact)", "topk(1000000,by=sketch8,exact)", "topk(7,by=sketch8,exact)", true, true},
    {"TopKByBoxes", "topk(7,by=boxes,exact)", "topk(1000000,by=boxes,exact)", "topk(7,by=boxes,exact)", true, true},
    {"TopKAmongPages", "topk(7,by=boxes,candidates=64)", "topk(1000000,by=boxes,candidates=64)",
     "topk(7,by=boxes,candidates=64)", true},
    {"TopKByPages", "topk(7,by=boxes)", "topk(1000000,by=boxes)", "topk(7,by=boxes)", true},
    {"PriorityByPages", "sinks(2)+priority(6,by=boxes)", "sinks(2)+priority(1000000,by=boxes)", "sinks(2)", false},
    {"StackOfPages", "topk(5,by=means)+topk(5,by=sketch4)+poisson(6,by=boxes)",
     "topk(5,by=means)+topk(5,by=sketch4)+poisson(1000000,by=boxes)", "topk(5,by=means)+topk(5,by=sketch4)", false},
    {"Quest", "quest(40)", "quest(1000000)", "quest(40)", true},
    {"SystematicByMeans", "systematic(6,by=means)", "systematic(1000000,by=means)", "sinks(0)", true},
    {"Summaries", "sinks(2)+quest(32)+summaries", "quest(1000000)+summaries", "sinks(2)+quest(32)", true},
    {"PriorityBySketch4", "priority(6,by=sketch4)", "priority(1000000,by=sketch4)", "sinks(0)", true},
    {"SystematicBySketch1", "systematic(6,by=sketch1)", "systematic(1000000,by=sketch1)", "sinks(0)", true},
    {"MultinomialBySketch8", "multinomial(6,by=sketch8)", "multinomial(1000000,by=sketch8)", "sinks(0)", true},
    {"PoissonBySketch4", "poisson(6,by=sketch4)", "poisson(1000000,by=sketch4)", "sinks(0)", true},
    {"Stack", "sinks(2)+window(4)+topk(5,by=sketch4)+priority(6,by=sketch4)",
     "sinks(2)+window(4)+topk(5,by=sketch4)+priority(1000000,by=sketch4)", "sinks(2)+window(4)+topk(5,by=sketch4)", false},
    {"StackOfSources", "topp(0.2)+topk(5,by=sketch1,candidates=30)+topk(3,by=sketch8,exact)+systematic(6,by=sketch8)",
     "topp(0.2)+topk(5,by=sketch1,candidates=30)+systematic(1000000,by=sketch8)",
     "topp(0.2)+topk(5,by=sketch1,candidates=30)+topk(3,by=sketch8,exact)", false},
    // Of 64 tables of one bit every key is met in two, but for one in 10^5 or fewer, and its weight is nearly 1.
    {"Lsh", "lsh(1,3)", "lsh(1,64)", "sinks(0)", false},
    {"LshOfOneCollision", "lsh(1,2,collisions=1)", "lsh(1,64,collisions=1)", "sinks(0)", false},
    {"LshStack", "sinks(2)+window(4)+topk(5,by=sketch4)+lsh(1,4)", "sinks(2)+window(4)+topk(5,by=sketch4)+lsh(1,64)",
     "sinks(2)+window(4)+topk(5,by=sketch4)", false},
    {"External", "window(3)+topk(5,by=external)+priority(6,by=external)",
     "window(3)+topk(5,by=external)+priority(1000000,by=external)", "window(3)+topk(5,by=external)", false},
};

void PrintTo(const IndexedCase& one, std::ostream* out) { *out << one.some; }

/// Indexes of one KV head: sketches, boxes, means and LSH tables, and scores that have nothing to do with its keys, for
/// the newest `rows` positions.
struct Beside {
  Sketches sketches;
  PageBoxes boxes;
  PageMeans means;
  LshTables tables;
  std::vector<float> numbers;
  ExternalScores external;

  template <class Kv>
  Beside(const Kv& kv, std::size_t rows, std::uint64_t seed)
      : sketches(kv), tables(lsh_tables_of(kv, 1, 64)) {
    append(boxes, kv);
    append(means, kv);
    const auto n = static_cast<std::size_t>(kv.size());
    std::mt19937_64 generator(seed);
    std::normal_distribution<float> normal;
    numbers.resize(rows * n);
    // None is -inf, for then `all` would not be all (index/external_test.cc).
    for (float& x : numbers) x = generator() % 20 == 0 ? (generator() % 2 == 0 ? NAN : -1e30f) : normal(generator);
    external = {{numbers.data(), rows, n}, kv.size() - static_cast<Position>(rows)};
  }
  Beside(Beside&&) = default;  // the numbers stay where they are

  template <class Kv>
  auto operator()(const Kv& kv) const {
    return with_index(kv, sketches.one, sketches.four, sketches.eight, boxes, means, tables, external);
  }
};

/// Calls visit(problem, its indexes, query): less than a segment, several, and between; all visible and a part.
template <class Visit>
void for_each_problem(const Visit& visit) {
  for (const std::size_t group : {1u, 3u, 4u}) {
    for (const std::size_t n : {0u, 1u, 17u, 255u, 256u, 300u, 700u, 1024u}) {
      auto p = random_problem<K>({n, 16, 8, group}, 100 * n + group);
      if (n > 100) store_row(std::vector<double>(16, 1e20).data(), 16, row_at(p.keys, 100, 16));  // has no sketch
      const Beside beside(p.kv(), n, n);
      for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
        for (const bool part : {false, true}) {
          SCOPED_TRACE(testing::Message() << n << " keys, group of " << group << (part ? ", part visible" : "")
                                          << (grouping == Grouping::kPerHead ? ", per head" : ", per group"));
          Query q = p.query();
          q.grouping = grouping;
          q.stream = {n, 1, 2, 3};
          if (part) {
            q.visible.first = 3;
            q.position = static_cast<Position>(n - n / 5 - (n == 0 ? 0 : 1));
          }
          visit(p, beside, q);
        }
      }
    }
  }
}

inline std::vector<Query> selecting(const Query& q) {
  if (q.grouping == Grouping::kPerGroup) return {q};
  std::vector<Query> heads;
  for (std::size_t h = 0; h < q.heads(); ++h) heads.push_back(q.head(h));
  return heads;
}

struct SKIM_LAWS_SUITE(IndexedLaws) : testing::TestWithParam<IndexedCase> {
  StageList some = parse(GetParam().some), all = parse(GetParam().all), exact = parse(GetParam().exact);
};

TEST_P(SKIM_LAWS_SUITE(IndexedLaws), Law1_PositionsAreVisibleAndNoneIsTwice) {
  for_each_problem([&](const Problem<K>& p, const Beside& beside, const Query& q) {
    for (const Query& one : selecting(q)) {
      const Selection selection = select(some, one, beside(p.kv()));
      const skim::Span visible = one.resolved(static_cast<Position>(p.shape.n)).visible;
      std::vector<bool> seen(p.shape.n);
      std::size_t count = 0;
      Position last = -1;
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
      ASSERT_LE(count, some.max_picks(static_cast<std::size_t>(visible.size())));
      ASSERT_TRUE(count > 0 || visible.size() <= 40);
    }
  });
}

TEST_P(SKIM_LAWS_SUITE(IndexedLaws), Law2_WhatIsNotSampledHasWeightOne) {
  for_each_problem([&](const Problem<K>& p, const Beside& beside, const Query& q) {
    for (const Query& one : selecting(q)) {
      std::vector<double> log_weight(p.shape.n, kNan);
      const Selection selection = select(some, one, beside(p.kv())), certain = select(exact, one, beside(p.kv()));
      for (const skim::Span& span : selection.spans()) {
        for (Position i = span.first; i < span.last; ++i) log_weight[static_cast<std::size_t>(i)] = 0;
      }
      for (const Pick& pick : selection.picks()) {
        ASSERT_TRUE(std::isfinite(pick.log_weight));
        log_weight[static_cast<std::size_t>(pick.position)] = pick.log_weight;
      }
      for (const Weighted& w : list_of(certain)) {
        ASSERT_EQ(w.weight, 1.0);
        ASSERT_EQ(log_weight[static_cast<std::size_t>(w.position)], 0) << "selected exactly by the same stages alone";
      }
    }
  });
}

TEST_P(SKIM_LAWS_SUITE(IndexedLaws), Law4_ABudgetForAllIsDense) {
  for_each_problem([&](const Problem<K>& p, const Beside& beside, const Query& q) {
    State dense = attend(Dense{}, q, p.kv()), state = attend(all, q, beside(p.kv()));
    ASSERT_TRUE(agrees_with_dense(state.view(), p, q));
    if (GetParam().plain) {
      ASSERT_TRUE(same_bits(state.out(), dense.out(), p.shape.group * p.shape.d_v));
      ASSERT_TRUE(same_bits(state.view().lse, dense.view().lse, p.shape.group));
    }
  });
}

TEST_P(SKIM_LAWS_SUITE(IndexedLaws), AttentionIsThatOverTheSelection) {
  for_each_problem([&](const Problem<K>& p, const Beside& beside, const Query& q) {
    State fused = attend(some, q, beside(p.kv()));
    const std::vector<Query> parts = selecting(q);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const Selection selection = select(some, parts[i], beside(p.kv()));
      const State state = attend(selection, parts[i], beside(p.kv()));
      StateView of_part = fused.view();
      if (parts.size() > 1) of_part = of_part.head(i);
      // What summaries stand for is tested where they are.
      ASSERT_TRUE(!selection.summaries().empty() || agrees(of_part, p, parts[i], list_of(selection)));
      ASSERT_TRUE(same_bits(state.out(), of_part.out.data, parts[i].heads() * p.shape.d_v));
    }
  });
}

TEST_P(SKIM_LAWS_SUITE(IndexedLaws), PagesChangeNoBit) {
  for_each_problem([&](const Problem<K>& p, const Beside& beside, const Query& q) {
    State flat = attend(some, q, beside(p.kv()));
    for (const std::size_t page_size : {3u, 16u}) {
      const InPages<K, K> pages(p, page_size, Adjacency::kAdjacent);
      State state = attend(some, q, beside(pages.kv()));
      ASSERT_TRUE(same_bits(state.out(), flat.out(), p.shape.group * p.shape.d_v)) << "pages of " << page_size;
      ASSERT_TRUE(same_bits(state.view().lse, flat.view().lse, p.shape.group)) << "pages of " << page_size;
    }
  });
}

// An index changes what is read, not what is right: by bounds, top-k is top-k, the same selection and the same bits.
TEST(SKIM_LAWS_SUITE(IndexedLawsByBounds), AreTheAnswerOfTheKeys) {
  for (const IndexedCase& one : kCases) {
    if (!one.by_keys) continue;
    const StageList by_bounds = parse(one.some);
    for_each_problem([&](const Problem<K>& p, const Beside& beside, const Query& q) {
      State by_index = attend(by_bounds, q, beside(p.kv())), by_keys = attend(TopK{7}, q, p.kv());
      ASSERT_TRUE(same_bits(by_index.out(), by_keys.out(), p.shape.group * p.shape.d_v)) << one.some;
    });
  }
}

// ---- layers -----------------------------------------------------------------------------------------------------

using Flat = IndexedKv<ContiguousKv<K>, Sketch1, Sketch4, Sketch8, PageBoxes, PageMeans, LshTables, ExternalScores>;

/// A layer whose KV heads carry indexes.
struct IndexedLayer {
  LayerProblem<K> p;
  std::vector<Beside> beside;
  std::vector<Flat> views;

  explicit IndexedLayer(const std::vector<Sequence>& batch, std::uint64_t seed) : p({4, 2, 8, 8}, batch, seed) {
    beside.reserve(p.views.size());
    for (std::size_t i = 0; i < p.views.size(); ++i) {
      beside.emplace_back(p.views[i], std::min(batch[i / 2].rows, batch[i / 2].n), seed + i);
    }
    for (std::size_t i = 0; i < p.views.size(); ++i) views.push_back(beside[i](p.views[i]));
  }

  LayerKv<Flat> kv() const { return {views, 2}; }
};

// Many units of work; and few, with chunks for several threads.
TEST_P(SKIM_LAWS_SUITE(IndexedLaws), Law5_EqualStreamGivesEqualBits) {
  const std::vector<std::vector<Sequence>> batches = {{{5, 600}, {1, 7}, {0, 9}, {9, 300}}, {{1, 13000}}};
  for (const auto& batch : batches) {
    const IndexedLayer layer(batch, batch.size());
    for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
      LayerQuery query = layer.p.query();
      query.grouping = grouping;
      query.stream = {7, 8, 0, 0};
      LayerOutput serial(layer.p), again(layer.p);
      attend(some, query, layer.kv(), serial.state());
      attend(some, query, layer.kv(), again.state());
      EXPECT_TRUE(same_bits(serial, again)) << "the same call again";
      for (const std::size_t threads : {1u, 2u, 3u, 7u}) {
        for (const Executor& executor : {real_threads(threads), backwards(threads)}) {
          LayerOutput output(layer.p);
          Options options;
          options.executor = executor;
          attend(some, query, layer.kv(), output.state(), options);
          EXPECT_TRUE(same_bits(serial, output)) << threads << " threads";
          EXPECT_TRUE(output.all_written());
        }
      }
    }
  }
}

// A layer is its rows one by one.
TEST_P(SKIM_LAWS_SUITE(IndexedLaws), Law5_ARowOfALayerIsThatRowAlone) {
  const IndexedLayer layer({{6, 600}, {1, 280}}, 9);
  LayerQuery query = layer.p.query();
  query.stream = {7, 8, 0, 0};
  LayerOutput whole(layer.p);
  attend(some, query, layer.kv(), whole.state());
  for (std::size_t r = 0; r < 7; ++r) {
    const std::size_t s = r < 6 ? 0 : 1;
    for (std::size_t kv_head = 0; kv_head < 2; ++kv_head) {
      Query q;
      q.rows = {layer.p.q.data() + (r * 4 + kv_head * 2) * 8, 2, 8};
      q.position = layer.p.position_of(r);
      q.stream = {7, 8, static_cast<std::uint32_t>(kv_head), s};
      const State alone = attend(some, q, layer.views[s * 2 + kv_head]);
      EXPECT_TRUE(same_bits(alone.out(), whole.row(r, kv_head * 2).out.data, 2 * 8)) << "row " << r;
    }
  }
}

TEST_P(SKIM_LAWS_SUITE(IndexedLaws), Law7_NothingIsAllocatedAfterWarmUp) {
  Workspace ws;
  const auto large = random_problem<K>({1100, 16, 8, 8}, 1), small = random_problem<K>({300, 16, 8, 3}, 2);
  const Beside beside_large(large.kv(), 1, 1), beside_small(small.kv(), 1, 2);
  const InPages<K, K> pages(large, 16, Adjacency::kApart);
  Guarded<float> out(8 * 8), lse(8);
  const auto run = [&](const Problem<K>& p, const auto& kv, Grouping grouping) {
    Query q = p.query();
    q.grouping = grouping;
    attend(some, q, kv, {{out.data(), p.shape.group, 8}, lse.data()}, ws);
  };
  const auto run_all = [&] {
    for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
      run(large, beside_large(large.kv()), grouping);
      run(large, beside_large(pages.kv()), grouping);
      run(small, beside_small(small.kv()), grouping);
    }
  };
  run_all();
  std::size_t before = allocations();
  run_all();
  EXPECT_EQ(allocations() - before, 0u) << "one head";

  const IndexedLayer many({{5, 600}, {1, 7}, {9, 300}}, 3), few({{1, 13000}}, 4);
  LayerOutput many_out(many.p), few_out(few.p);
  for (const std::size_t threads : {1u, 4u}) {
    std::vector<Workspace> workspaces(threads);
    Options options;
    options.executor = backwards(threads);
    options.workspaces = workspaces;
    const auto run_layers = [&] {
      attend(some, many.p.query(), many.kv(), many_out.state(), options);
      attend(some, few.p.query(), few.kv(), few_out.state(), options);
    };
    run_layers();
    before = allocations();
    run_layers();
    EXPECT_EQ(allocations() - before, 0u) << "a layer on " << threads << " threads";
  }
}

// ---- canonical bits ---------------------------------------------------------------------------------------------

// A row of a chunk selects what the same row selects when it is decoded alone: while no segment is completed between
// the two, for its keys then change from exact to sketched; and by bounds always.
TEST_P(SKIM_LAWS_SUITE(IndexedLaws), Law8_RowsOfAChunkSelectAsInDecoding) {
  for (const std::size_t n : {700u, 515u}) {
    if (n == 515 && !GetParam().by_keys) continue;
    const auto p = random_problem<K>({n, 46, 8, 4}, n);
    const Beside beside(p.kv(), n, n);
    for (std::size_t r = 0; r < 9; ++r) {
      Query q = p.query();
      q.position = static_cast<Position>(n - 9 + r);
      const State in_chunk = attend(some, q, beside(p.kv()));
      auto then = p.kv();  // the cache as it was when row r was the newest
      then.keys.rows = then.values.rows = n - 8 + r;
      Beside beside_then(then, then.keys.rows, 1);
      for (std::size_t row = 0; row < then.keys.rows; ++row) {
        std::copy_n(beside.numbers.data() + row * n, then.keys.rows, beside_then.numbers.data() + row * then.keys.rows);
      }
      const State decoded = attend(some, q, beside_then(then));
      EXPECT_TRUE(same_bits(decoded.out(), in_chunk.out(), 4 * 8)) << "row " << r << " of " << n;
    }
  }
}

// Of the suite's name, not of the macro that makes it.
#define SKIM_INSTANTIATE(...) INSTANTIATE_TEST_SUITE_P(All, __VA_ARGS__)
SKIM_INSTANTIATE(SKIM_LAWS_SUITE(IndexedLaws), testing::ValuesIn(kCases),
                         [](const auto& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace skim::test
