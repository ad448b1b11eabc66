// SPDX-License-Identifier: Apache-2.0
// A sequence does not notice its batch mates, nor into which calls the caller splits heads, rows and sequences: for every
// estimator, storage type and number of threads its bits are those of the sequence alone.
#include <algorithm>
#include <deque>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "support/indexes.h"
#include "support/layer_problem.h"
#include "support/threads.h"

namespace skim::test {
namespace {

const char* const kTexts[] = {
    "dense", "sinks(2)+window(7)", "topk(5)", "sinks(2)+window(3)+topk(5)", "topk(fraction(0.1,2))", "topp(0.4)",
    "uniform(6)", "topk(3)+priority(6)", "multinomial(6)", "systematic(6)", "poisson(6)",
    "topk(5,by=sketch1)", "topk(5,by=sketch8,exact)", "sinks(1)+topk(4,by=sketch4)+priority(6,by=sketch4)",
    "quest(40)", "topk(20,by=boxes)", "systematic(6,by=means)", "sinks(2)+quest(32)+summaries", "lsh(1,4)"};

constexpr LayerShape kShape{6, 3, 24, 16};

/// A batch whose heads carry indexes.
template <class K>
struct Batch {
  using Kv = decltype(with_index(std::declval<const ContiguousKv<K>&>(), std::declval<const Sketch1&>(),
                                 std::declval<const Sketch4&>(), std::declval<const Sketch8&>(),
                                 std::declval<const PageBoxes&>(), std::declval<const PageMeans&>(),
                                 std::declval<const LshTables&>()));
  struct Beside {
    Sketches sketches;
    PageBoxes boxes;
    PageMeans means;
    LshTables tables;
  };

  LayerProblem<K> problem;
  std::deque<Beside> indexes;
  std::vector<Kv> views;

  Batch(std::vector<Sequence> sequences, std::uint64_t seed) : problem(kShape, std::move(sequences), seed) {
    for (const auto& kv : problem.views) {
      auto& one = indexes.emplace_back(Beside{Sketches(kv), PageBoxes{}, PageMeans{}, lsh_tables_of(kv, 1, 8)});
      append(one.boxes, kv);
      append(one.means, kv);
      views.push_back(with_index(kv, one.sketches.one, one.sketches.four, one.sketches.eight, one.boxes, one.means, one.tables));
    }
  }
};

/// Results of single rows of a layer, by sequence, row and query head.
struct Output {
  std::vector<float> out, lse;
  explicit Output(std::size_t rows) : out(rows * 6 * 16, NAN), lse(rows * 6, NAN) {}
};

Query head_options(Grouping grouping, std::uint64_t seed) {
  Query q;
  q.grouping = grouping;
  q.stream = {seed, 3, 0, 0};
  return q;
}

LayerQuery layer_query(const Query& how) {
  LayerQuery query;
  query.grouping = how.grouping;
  query.stream = how.stream;
  return query;
}

template <class K>
struct BatchLaws : testing::Test {};
using Storages = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(BatchLaws, Storages);

/// Sequence s of a batch in a call of its own: rows [begin, end) of it, query heads [first, first + count).
template <class K>
void attend_part(const Batch<K>& batch, const StageList& e, const Query& how, std::size_t s, std::size_t begin,
                 std::size_t end, std::size_t first, std::size_t count, Output& to, const Options& options = {}) {
  const auto& p = batch.problem;
  const std::size_t row = p.row_begin[s] + begin, group = kShape.group(), kv_heads = count / std::min(group, count);
  LayerQuery query = layer_query(how);
  query.rows = {p.q.data() + (row * 6 + first) * 24, end - begin, count, 24, 6 * 24, 24};
  query.first_head = first;
  const Position at = static_cast<Position>(p.sequences[s].n - p.sequences[s].rows + begin);
  query.first_position = {&at, 1};
  const std::uint64_t id = 100 + s;
  query.sequence_ids = {&id, 1};
  attend(e, query, LayerKv<typename Batch<K>::Kv>{{batch.views.data() + s * 3 + first / group, kv_heads}, kv_heads},
         LayerState{{to.out.data() + (row * 6 + first) * 16, end - begin, count, 16, 6 * 16, 16}}, options);
}

// 1 to 9 sequences of 0 to 40 rows, in any order.
TYPED_TEST(BatchLaws, BitsAreThoseOfEachSequenceAlone) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 12; ++trial) {
    std::vector<Sequence> sequences(1 + random() % 9);
    for (Sequence& s : sequences) {
      const std::size_t kRows[] = {0, 1, 1, 2, 3, 4, 5, 17, 40};
      s.rows = kRows[random() % 9];
      s.n = s.rows + (random() % 3 == 0 ? 0 : random() % 400);
    }
    const Batch<TypeParam> batch(sequences, 10 * static_cast<std::uint64_t>(trial) + 1);
    const auto& p = batch.problem;
    std::vector<std::uint64_t> ids;
    for (std::size_t s = 0; s < sequences.size(); ++s) ids.push_back(100 + s);
    for (const char* text : kTexts) {
      SCOPED_TRACE(testing::Message() << text << ", batch " << trial);
      const StageList e = parse(text);
      const Query how = head_options(random() % 2 ? Grouping::kPerGroup : Grouping::kPerHead, random());
      LayerQuery query = layer_query(how);
      query.rows = p.query().rows;
      query.row_begin = p.row_begin;
      query.sequence_ids = ids;
      Output alone(p.rows());
      for (std::size_t s = 0; s < sequences.size(); ++s) attend_part(batch, e, how, s, 0, sequences[s].rows, 0, 6, alone);
      for (const std::size_t threads : {1u, 3u, 8u}) {
        Output all(p.rows());
        Options options;
        if (threads > 1) options.executor = backwards(threads);
        std::vector<Workspace> workspaces(threads);
        options.workspaces = workspaces;
        attend(e, query, LayerKv<typename Batch<TypeParam>::Kv>{batch.views, 3},
               LayerState{{all.out.data(), p.rows(), 6, 16}}, options);
        ASSERT_TRUE(same_bits(all.out.data(), alone.out.data(), all.out.size())) << threads << " threads";
      }
    }
  }
}

// One KV head a call, or one query head where heads select for themselves; and a row a call, which has the bits of the
// chunk but for dense attention by matrix products, and has them there too when rows are invariant.
TYPED_TEST(BatchLaws, BitsDoNotDependOnHowTheCallerSplits) {
  const Batch<TypeParam> batch({{1, 300}, {7, 130}, {2, 2}}, 77);
  const auto& sequences = batch.problem.sequences;
  for (const char* text : kTexts) {
    for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
      SCOPED_TRACE(testing::Message() << text << (grouping == Grouping::kPerHead ? ", per head" : ", per group"));
      const StageList e = parse(text);
      const Query how = head_options(grouping, 9);
      const std::size_t rows = batch.problem.rows();
      Output whole(rows), by_heads(rows), by_rows(rows), invariant(rows);
      Options options;
      options.row_invariant = true;
      const std::size_t step = grouping == Grouping::kPerHead ? 1 : 2;
      for (std::size_t s = 0; s < sequences.size(); ++s) {
        const std::size_t m = sequences[s].rows;
        attend_part(batch, e, how, s, 0, m, 0, 6, whole);
        attend_part(batch, e, how, s, 0, m, 0, 6, invariant, options);
        for (std::size_t h = 0; h < 6; h += step) attend_part(batch, e, how, s, 0, m, h, step, by_heads);
        for (std::size_t r = 0; r < m; ++r) attend_part(batch, e, how, s, r, r + 1, 0, 6, by_rows);
      }
      EXPECT_TRUE(same_bits(by_heads.out.data(), whole.out.data(), whole.out.size()));
      EXPECT_TRUE(same_bits(by_rows.out.data(), invariant.out.data(), invariant.out.size()));
      if (e.stages.size() > 1 || !std::holds_alternative<Dense>(e.stages[0])) {
        EXPECT_TRUE(same_bits(by_rows.out.data(), whole.out.data(), whole.out.size()));
      }
    }
  }
}

// Heads that share draws are what the two numbers are for: without them the calls are not those of the whole.
TEST(SplitHeads, WithoutTheirNumberDrawTheSame) {
  const LayerProblem<float> p({4, 2, 24, 16}, {{1, 200}}, 1);
  const auto attend_heads = [&](std::size_t first, std::size_t number) {
    LayerQuery query;
    query.rows = {p.q.data() + first * 24, 1, 2, 24};
    query.first_head = number;
    std::vector<float> out(2 * 16);
    attend(UniformTail{5}, query, LayerKv<ContiguousKv<float>>{{&p.views[first / 2], 1}, 1}, LayerState{{out.data(), 1, 2, 16}});
    return out;
  };
  std::vector<float> whole(4 * 16);
  attend(UniformTail{5}, p.query(), p.kv(), LayerState{{whole.data(), 1, 4, 16}});
  EXPECT_TRUE(same_bits(attend_heads(2, 2).data(), whole.data() + 32, 32));
  EXPECT_FALSE(same_bits(attend_heads(2, 0).data(), whole.data() + 32, 32));
}

TEST(SplitHeads, WhatCannotBeIsRefused) {
  const LayerProblem<float> p({4, 2, 24, 16}, {{1, 200}}, 1);
  LayerOutput output(p);
  LayerQuery query = p.query();
  query.first_head = 3;
  EXPECT_THROW(attend(Dense{}, query, p.kv(), output.state()), std::invalid_argument);
  query.grouping = Grouping::kPerHead;
  EXPECT_NO_THROW(attend(Dense{}, query, p.kv(), output.state()));
  const Position below[] = {-1}, two[] = {3, 4};
  query = p.query();
  query.first_position = below;
  EXPECT_THROW(attend(Dense{}, query, p.kv(), output.state()), std::invalid_argument);
  query.first_position = two;
  EXPECT_THROW(attend(Dense{}, query, p.kv(), output.state()), std::invalid_argument);
}

}  // namespace
}  // namespace skim::test
