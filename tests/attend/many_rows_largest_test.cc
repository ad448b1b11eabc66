// SPDX-License-Identifier: Apache-2.0
// Estimators that keep the largest logits find them another way when a sequence brings many rows. Every bit must be that
// of the row on its own.
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/layer_problem.h"
#include "support/layouts.h"
#include "support/threads.h"

namespace skim::test {
namespace {

template <class E, class K, class V>
testing::AssertionResult is_that_of_rows_alone(const E& e, LayerOutput& output,
                                               const LayerProblem<K, V>& p, const LayerQuery& query) {
  const std::size_t group = p.shape.group();
  Workspace ws;
  for (std::size_t r = 0; r < p.rows(); ++r) {
    for (std::size_t first = 0; first < p.shape.q_heads; first += group) {
      Query q = p.row_query(query, r, first);
      q.rows.rows = group;
      q.grouping = query.grouping;
      if (!query.visible.empty()) q.visible = query.visible[r];
      State alone(group, p.shape.d_v);
      attend(e, q, p.head_of(r, first).kv(), alone.view(), ws);
      for (std::size_t h = 0; h < group; ++h) {
        const StateView row = output.row(r, first + h);
        const float lse = alone.lse(h);
        if (!same_bits(row.out.data, alone.out(h), p.shape.d_v) || !same_bits(row.lse, &lse, 1)) {
          return testing::AssertionFailure()
                 << "row " << r << ", query head " << first + h << " differs";
        }
      }
    }
  }
  return testing::AssertionSuccess();
}

template <class E, class K, class V>
void expect_same(const E& e, const LayerProblem<K, V>& p, const LayerQuery& query) {
  LayerOutput output(p);
  attend(e, query, p.kv(), output.state());
  EXPECT_TRUE(output.all_written());
  EXPECT_TRUE(is_that_of_rows_alone(e, output, p, query));
}

TEST(ManyRowsLargest, EveryEstimatorThatSelectsTheLargest) {
  const LayerProblem<float> p({8, 2, 24, 12}, {{40, 700}, {5, 300}, {130, 130}}, 1);
  for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
    LayerQuery query = p.query();
    query.grouping = grouping;
    expect_same(TopK{8}, p, query);
    expect_same(TopK{fraction(0.02)}, p, query);
    expect_same(TopK{power(0.5, 0.6)}, p, query);
    expect_same(stack(Sinks{2}, Window{9}, TopK{10}), p, query);
    expect_same(stack(TopK{4}, Window{5}, TopK{6}), p, query);
    expect_same(parse("sinks(1)+window(4)+topk(fraction(0.03))"), p, query);
    expect_same(TopK{100}, p, query);  // too many for a list, in most rows
    expect_same(TopK{0}, p, query);
    expect_same(Window{7}, p, query);
  }
}

template <class K, class V>
void expect_storage_is_same() {
  for (const std::size_t d : {1u, 33u, 64u}) {
    const LayerProblem<K, V> p({4, 2, d, 97 - d}, {{20, 400}, {1, 200}, {37, 37}}, d);
    expect_same(TopK{6}, p, p.query());
  }
}
TEST(ManyRowsLargest, F16) { expect_storage_is_same<F16, F16>(); }
TEST(ManyRowsLargest, BF16) { expect_storage_is_same<BF16, BF16>(); }
TEST(ManyRowsLargest, BF16AndF32) { expect_storage_is_same<BF16, float>(); }
TEST(ManyRowsLargest, I8) { expect_storage_is_same<I8, I8>(); }

TEST(ManyRowsLargest, LogitRulesVisibleRangesAndSinkLogits) {
  const LayerProblem<float> p({8, 2, 20, 12}, {{70, 400}}, 2);
  std::vector<skim::Span> windows(70), odd(70);
  for (std::size_t r = 0; r < 70; ++r) {
    windows[r] = sliding_window(330 + static_cast<Position>(r), 200);
    const auto first = static_cast<Position>(r * 131 % 390);
    odd[r] = {first, first + static_cast<Position>(r * 71 % 350)};  // some empty
  }
  for (const double cap : {0.0, 2.0}) {
    for (const float* slopes : {static_cast<const float*>(nullptr), kSlopesOfEight}) {
      for (const auto& visible : {std::vector<skim::Span>{}, windows, odd}) {
        for (const bool causal : {true, false}) {
          LayerQuery query = p.query();
          query.logit = {.scale = 0.4, .soft_cap = cap, .alibi_slopes = slopes};
          query.sink_logits = kSinksOfEight;
          query.causal = causal;
          query.visible = visible;
          expect_same(stack(Sinks{2}, TopK{7}), p, query);
        }
      }
    }
  }
}

// Ties go to the lower position, and a product that rounds another way must not decide them.
TEST(ManyRowsLargest, TiesAndNearTies) {
  LayerProblem<float> p({4, 2, 64, 12}, {{60, 900}}, 3);
  for (auto& head : p.heads) {
    for (std::size_t i = 0; i < 900; ++i) {
      for (std::size_t c = 0; c < 64; ++c) {
        const auto step = static_cast<float>(static_cast<int>((i * 7 + c) % 3) - 1);
        head.keys[i * 64 + c] = head.keys[(i % 50) * 64 + c] * (i % 2 == 0 ? 1 : 1 + step * 0x1p-23f);
      }
    }
  }
  expect_same(TopK{11}, p, p.query());
  for (auto& head : p.heads) std::fill(head.keys.begin(), head.keys.end(), 0.5f);  // all the same
  expect_same(TopK{11}, p, p.query());
}

TEST(ManyRowsLargest, InfinityAndNanStayWhereTheyAre) {
  for (const float bad : {static_cast<float>(NAN), INFINITY, -INFINITY}) {
    for (const bool in_query : {true, false}) {
      LayerProblem<float> p({4, 2, 20, 12}, {{60, 300}}, 4);
      if (in_query) p.q[(11 * 4 + 2) * 20 + 7] = bad;
      if (!in_query) p.heads[1].keys[250 * 20 + 3] = bad;
      for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
        LayerQuery query = p.query();
        query.grouping = grouping;
        LayerOutput output(p);
        attend(TopK{5}, query, p.kv(), output.state());
        for (std::size_t r = 0; r < 60; ++r) {
          for (std::size_t h = 0; h < 4; ++h) {
            // NaN bits may differ; which values are NaN may not.
            Query q = p.row_query(query, r, h / 2 * 2);
            q.rows.rows = 2;
            q.grouping = grouping;
            State alone(2, 12);
            Workspace ws;
            attend(TopK{5}, q, p.head_of(r, h).kv(), alone.view(), ws);
            for (std::size_t c = 0; c < 12; ++c) {
              const float x = output.row(r, h).out.data[c], y = alone.out(h % 2)[c];
              EXPECT_TRUE(x == y || (std::isnan(x) && std::isnan(y))) << r << ", " << h << ", " << c;
            }
          }
        }
      }
    }
  }
}

TEST(ManyRowsLargest, ThreadsAndPagesChangeNoBit) {
  const LayerProblem<float> p({4, 2, 20, 12}, {{70, 300}, {5, 200}, {300, 310}, {1, 40}}, 5);
  const auto e = stack(Sinks{1}, TopK{9});
  LayerOutput expected(p);
  attend(e, p.query(), p.kv(), expected.state());
  for (const std::size_t threads : {2u, 3u, 7u}) {
    for (const Executor& executor : {real_threads(threads), backwards(threads)}) {
      LayerOutput output(p);
      Options options;
      options.executor = executor;
      attend(e, p.query(), p.kv(), output.state(), options);
      EXPECT_TRUE(same_bits(expected, output)) << threads << " threads";
    }
  }
  for (const std::size_t page_size : {1u, 3u, 16u, 256u}) {
    std::vector<InPages<float, float>> pages;
    std::vector<PagedKv<float>> views;
    for (const auto& head : p.heads)
      pages.emplace_back(head, page_size, Adjacency::kApart, pages.size());
    for (const auto& head : pages) views.push_back(head.kv());
    LayerOutput output(p);
    attend(e, p.query(), LayerKv<PagedKv<float>>{views, 2}, output.state());
    EXPECT_TRUE(same_bits(expected, output)) << "pages of " << page_size;
  }
}

}  // namespace
}  // namespace skim::test
