// SPDX-License-Identifier: Apache-2.0
// Does a layer give every row, head and sequence its own answer: chunks, ragged batches, strides?
#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "skim/skim.h"
#include "support/layer_problem.h"

namespace skim::test {
namespace {

void expect_right(const LayerProblem<float>& p, const LayerQuery& query) {
  LayerOutput output(p);
  attend(Dense{}, query, p.kv(), output.state());
  EXPECT_TRUE(output.all_written());
  EXPECT_TRUE(agrees_with_dense(output, p, query));
}

TEST(Layer, ChunksOfRows) {
  for (const Sequence s : {Sequence{1, 1}, Sequence{1, 50}, Sequence{7, 7}, Sequence{16, 16}, Sequence{5, 100},
                           Sequence{17, 33}, Sequence{40, 41}}) {
    SCOPED_TRACE(testing::Message() << s.rows << " rows against " << s.n << " positions");
    const LayerProblem<float> p({}, {s}, s.rows + s.n);
    LayerQuery query = p.query();
    expect_right(p, query);
    query.causal = false;
    expect_right(p, query);
  }
}

// Causal, the first rows would stand before the first position: an error, for their keys are not in the cache yet. (They
// saw nothing once, and gave zeros.) Where nothing is in the cache, all rows see nothing.
TEST(Layer, MoreRowsThanPositions) {
  const LayerProblem<float> p({}, {{9, 4}, {3, 0}, {2, 1}}, 1);
  LayerQuery query = p.query();
  LayerOutput output(p);
  expect_error([&] { attend(Dense{}, query, p.kv(), output.state()); }, {"sequence 0 has 9 causal rows", "4 keys", "causal be false"});
  EXPECT_TRUE(output.out.untouched() && output.lse.untouched());
  const LayerProblem<float> none({}, {{9, 0}, {3, 3}}, 1);
  expect_right(none, none.query());
  query.causal = false;
  expect_right(p, query);
  const float slopes[4] = {0.5f, 0.25f, 0.125f, 0.0625f};
  query.logit.alibi_slopes = slopes;
  expect_right(p, query);
}

TEST(Layer, RaggedBatches) {
  const LayerProblem<float> p({6, 3, 24, 16}, {{1, 0}, {1, 1}, {1, 100}, {0, 7}, {3, 5}, {0, 0}, {2, 2}, {20, 33}}, 2);
  LayerQuery query = p.query();
  expect_right(p, query);
  query.causal = false;
  expect_right(p, query);
}

TEST(Layer, RowsDivideEvenlyWithoutRowBegin) {
  const LayerProblem<float> p({}, {{3, 9}, {3, 3}, {3, 40}}, 3);
  LayerQuery query = p.query();
  query.row_begin = {};
  expect_right(p, query);
}

TEST(Layer, RowsOfTheirOwnVisibleRange) {
  const LayerProblem<float> p({}, {{6, 50}, {4, 4}}, 4);
  std::vector<skim::Span> visible;
  for (std::size_t r = 0; r < 6; ++r) visible.push_back(sliding_window(44 + static_cast<Position>(r), 5));
  visible.insert(visible.end(), {{0, 1}, {3, 3}, {1, 100}, {-4, 2}});
  LayerQuery query = p.query();
  query.visible = visible;
  expect_right(p, query);
}

TEST(Layer, LogitRuleAndSinkLogitsOfEachHead) {
  const LayerProblem<float> p({6, 2, 24, 16}, {{3, 50}, {1, 0}, {2, 17}}, 5);
  const float slopes[6] = {0.5f, 0.25f, 0.125f, 0.06f, 0.03f, 0.01f};
  const float sinks[6] = {0.5f, -1, 2, 30, -INFINITY, 0};
  LayerQuery query = p.query();
  query.logit = {.scale = 0.3, .soft_cap = 4, .alibi_slopes = slopes};
  query.sink_logits = sinks;
  for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
    query.grouping = grouping;
    expect_right(p, query);
  }
}

TEST(Layer, LseIsOptional) {
  const LayerProblem<float> p({}, {{3, 50}, {1, 7}}, 6);
  for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
    LayerQuery query = p.query();
    query.grouping = grouping;
    LayerOutput with(p), without(p);
    attend(TopK{4}, query, p.kv(), with.state());
    LayerState state = without.state();
    state.lse = nullptr;
    attend(TopK{4}, query, p.kv(), state);
    EXPECT_TRUE(same_bits(with.out.data(), without.out.data(), with.out.size()));
    EXPECT_TRUE(without.lse.untouched());
  }
}

// Rows and heads of q and of out may lie anywhere: [heads, rows, cols], gaps, any order.
TEST(Layer, StridesOfQAndOut) {
  const LayerProblem<float> p({4, 2, 24, 16}, {{3, 20}, {2, 5}}, 7);
  LayerOutput expected(p);
  attend(Dense{}, p.query(), p.kv(), expected.state());

  std::vector<float> q(4 * 5 * 31, NAN);  // [heads, rows, 31]
  for (std::size_t r = 0; r < 5; ++r) {
    for (std::size_t h = 0; h < 4; ++h) std::copy_n(p.q.data() + (r * 4 + h) * 24, 24, q.data() + (h * 5 + r) * 31);
  }
  LayerQuery query = p.query();
  query.rows = {q.data(), 5, 4, 24, 31, 5 * 31};
  Guarded<float> out(4 * 5 * 19);  // heads in the reverse order
  LayerState state{{out.data() + 3 * 5 * 19, 5, 4, 16, 19, -5 * 19}};
  attend(Dense{}, query, p.kv(), state);
  EXPECT_TRUE(out.fences_stand());
  for (std::size_t r = 0; r < 5; ++r) {
    for (std::size_t h = 0; h < 4; ++h) {
      const float* at = out.data() + ((3 - h) * 5 + r) * 19;
      EXPECT_TRUE(same_bits(at, expected.row(r, h).out.data, 16));
      for (std::size_t c = 16; c < 19; ++c) EXPECT_EQ(at[c], Guarded<float>::kPoison);
    }
  }
}

TEST(Layer, EmptyBatchTouchesNothing) {
  Guarded<float> out(100);
  LayerQuery query;
  query.rows = {nullptr, 0, 4, 24};
  const LayerKv<ContiguousKv<float>> kv{{}, 2};
  attend(Dense{}, query, kv, LayerState{{out.data(), 0, 4, 16}, out.data()});
  EXPECT_TRUE(out.untouched());

  // Sequences there are, but no rows.
  const LayerProblem<float> p({}, {{0, 5}, {0, 0}}, 8);
  attend(Dense{}, p.query(), p.kv(), LayerState{{out.data(), 0, 4, 16}, out.data()});
  EXPECT_TRUE(out.untouched());
}

// One head and a layer of one head are the same thing.
TEST(Layer, RowsAreThoseOfOneHeadCalls) {
  const LayerProblem<float> p({3, 1, 24, 16}, {{9, 40}}, 9);
  LayerOutput layer(p);
  LayerQuery query = p.query();
  query.stream = {1, 2, 0, 0};
  const auto e = stack(Sinks{2}, TopK{4}, PriorityTail{5});
  attend(e, query, p.kv(), layer.state());
  for (std::size_t r = 0; r < 9; ++r) {
    Query one;
    one.rows = {p.q.data() + r * 3 * 24, 3, 24};
    one.position = 31 + static_cast<Position>(r);
    one.stream = query.stream;
    State state = attend(e, one, p.views[0]);
    EXPECT_TRUE(same_bits(state.out(), layer.row(r, 0).out.data, 3 * 16)) << "row " << r;
    EXPECT_TRUE(same_bits(state.view().lse, layer.row(r, 0).lse, 3)) << "row " << r;
  }
}

}  // namespace
}  // namespace skim::test
