// SPDX-License-Identifier: Apache-2.0
// Dense attention takes another way when a sequence brings many rows. Is it as right there?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/layer_problem.h"
#include "support/layouts.h"
#include "support/threads.h"

namespace skim::test {
namespace {

template <class K, class V>
void expect_right(const LayerProblem<K, V>& p, const LayerQuery& query) {
  LayerOutput output(p);
  attend(Dense{}, query, p.kv(), output.state());
  EXPECT_TRUE(output.all_written());
  EXPECT_TRUE(agrees_with_dense(output, p, query));
}

TEST(ManyRows, AnyNumberOfRowsAndKeys) {
  for (const std::size_t rows : {4u, 5u, 31u, 32u, 33u, 65u}) {
    for (const std::size_t n : {0u, 1u, 4u, 31u, 65u, 127u, 128u, 129u, 300u}) {
      SCOPED_TRACE(testing::Message() << rows << " rows against " << n << " positions");
      const LayerProblem<float> p({3, 1, 9, 7}, {{rows, n}}, rows + n);
      LayerQuery query = p.query();
      if (n == 0 || rows <= n) expect_right(p, query);  // more causal rows than keys are an error
      query.causal = false;
      expect_right(p, query);
    }
  }
}

TEST(ManyRows, AnyRowLengthAndGroup) {
  for (const std::size_t d : {1u, 3u, 8u, 46u, 64u, 80u, 128u, 256u}) {
    for (const std::size_t group : {1u, 2u, 3u, 4u, 5u, 7u, 8u}) {
      const std::size_t d_v = 1 + 511 * group % 130;
      SCOPED_TRACE(testing::Message() << "d " << d << ", d_v " << d_v << ", group " << group);
      const LayerProblem<float> p({2 * group, 2, d, d_v}, {{7, 40}}, d + group);
      expect_right(p, p.query());
    }
  }
}

template <class K, class V>
void expect_storage_is_right() {
  for (const std::size_t d : {1u, 33u, 64u}) {
    const LayerProblem<K, V> p({4, 2, d, 97 - d}, {{9, 40}, {1, 200}, {37, 37}}, d);
    expect_right(p, p.query());
  }
}
TEST(ManyRows, F16) { expect_storage_is_right<F16, F16>(); }
TEST(ManyRows, BF16) { expect_storage_is_right<BF16, BF16>(); }
TEST(ManyRows, F16AndF32) { expect_storage_is_right<F16, float>(); }
TEST(ManyRows, BF16AndF16) { expect_storage_is_right<BF16, F16>(); }
TEST(ManyRows, I8) { expect_storage_is_right<I8, I8>(); }
TEST(ManyRows, I8AndBF16) { expect_storage_is_right<I8, BF16>(); }

TEST(ManyRows, LogitRulesAndSinkLogits) {
  const LayerProblem<float> p({8, 2, 20, 12}, {{33, 150}, {6, 6}, {1, 0}}, 1);
  LayerQuery query = p.query();
  for (const double cap : {0.0, 2.0}) {
    for (const float* slopes : {static_cast<const float*>(nullptr), kSlopesOfEight}) {
      for (const float* sinks : {static_cast<const float*>(nullptr), kSinksOfEight}) {
        for (const bool causal : {true, false}) {
          query.logit = {.scale = 0.4, .soft_cap = cap, .alibi_slopes = slopes};
          query.sink_logits = sinks;
          query.causal = causal;
          expect_right(p, query);
        }
      }
    }
  }
}

TEST(ManyRows, VisibleRangesOfEveryKind) {
  const LayerProblem<float> p({4, 2, 20, 12}, {{70, 300}}, 2);
  LayerQuery query = p.query();
  std::vector<skim::Span> visible(70);
  query.visible = visible;
  for (const Position width : {1, 5, 64, 200}) {
    for (std::size_t r = 0; r < 70; ++r) visible[r] = sliding_window(230 + static_cast<Position>(r), width);
    expect_right(p, query);
  }
  query.causal = false;
  for (std::size_t r = 0; r < 70; ++r) {  // without any order, some empty
    const auto first = static_cast<Position>(r * 131 % 299);
    visible[r] = {first, first + static_cast<Position>(r * 71 % 150)};
  }
  expect_right(p, query);
}

TEST(ManyRows, LargeLogits) {
  LayerProblem<float> p({4, 2, 2, 12}, {{40, 300}}, 3);
  for (float& x : p.q) x = 1;
  for (auto& head : p.heads) {
    for (std::size_t i = 0; i < 300; ++i) {
      head.keys[2 * i] = static_cast<float>(i * 37 % 101) / 16;
      head.keys[2 * i + 1] = -500000;
    }
  }
  LayerQuery query = p.query();
  query.logit.scale = 1;
  expect_right(p, query);
}

// A bit of the result depends on nothing but the row and what it sees: not on threads, pages, or the other rows.
TEST(ManyRows, ThreadsPagesAndNeighboursChangeNoBit) {
  const LayerProblem<float> p({4, 2, 20, 12}, {{70, 300}, {5, 5}, {300, 310}, {1, 40}}, 4);
  const LayerQuery query = p.query();
  LayerOutput expected(p);
  attend(Dense{}, query, p.kv(), expected.state());
  for (const std::size_t threads : {2u, 3u, 7u}) {
    for (const Executor& executor : {real_threads(threads), backwards(threads)}) {
      LayerOutput output(p);
      Options options;
      options.executor = executor;
      attend(Dense{}, query, p.kv(), output.state(), options);
      EXPECT_TRUE(same_bits(expected, output)) << threads << " threads";
    }
  }
  for (const std::size_t page_size : {1u, 3u, 16u, 256u}) {
    for (const Adjacency adjacency : {Adjacency::kApart, Adjacency::kAdjacent}) {
      std::vector<InPages<float, float>> pages;
      std::vector<PagedKv<float>> views;
      for (const auto& head : p.heads) pages.emplace_back(head, page_size, adjacency, pages.size());
      for (const auto& head : pages) views.push_back(head.kv());
      LayerOutput output(p);
      attend(Dense{}, query, LayerKv<PagedKv<float>>{views, 2}, output.state());
      EXPECT_TRUE(same_bits(expected, output)) << "pages of " << page_size;
    }
  }
  // The last 40 rows of the third sequence alone.
  LayerQuery part = query;
  part.row_begin = {};
  part.rows.data += (375 - 40) * 4 * 20;
  part.rows.rows = 40;
  Guarded<float> out(40 * 4 * 12), lse(40 * 4);
  attend(Dense{}, part, LayerKv<ContiguousKv<float>>{std::span(p.views).subspan(4, 2), 2},
         LayerState{{out.data(), 40, 4, 12}, lse.data()});
  EXPECT_TRUE(same_bits(out.data(), expected.row(335, 0).out.data, 40 * 4 * 12));
  EXPECT_TRUE(same_bits(lse.data(), expected.row(335, 0).lse, 40 * 4));
}

// A position that a row does not see may hold anything, though its neighbours in the panel see it.
TEST(ManyRows, WhatARowDoesNotSeeDoesNotReachIt) {
  for (const float poison : {static_cast<float>(NAN), INFINITY, -INFINITY}) {
    for (const std::size_t at : {0u, 30u, 127u, 128u, 139u}) {
      LayerProblem<float> p({4, 2, 20, 12}, {{140, 140}}, 5);
      LayerOutput expected(p), output(p);
      attend(Dense{}, p.query(), p.kv(), expected.state());
      for (auto& head : p.heads) {
        std::fill_n(head.keys.begin() + static_cast<std::ptrdiff_t>(at * 20), 20, poison);
        std::fill_n(head.values.begin() + static_cast<std::ptrdiff_t>(at * 12), 12, poison);
      }
      attend(Dense{}, p.query(), p.kv(), output.state());
      for (std::size_t r = 0; r < at; ++r) {
        EXPECT_TRUE(same_bits(output.row(r, 0).out.data, expected.row(r, 0).out.data, 4 * 12)) << "row " << r;
        EXPECT_TRUE(same_bits(output.row(r, 0).lse, expected.row(r, 0).lse, 4)) << "row " << r;
      }
      if (!std::isnan(poison)) continue;
      for (std::size_t r = at; r < 140; ++r) EXPECT_TRUE(std::isnan(output.row(r, 1).out.data[3])) << "row " << r;
    }
  }
}

TEST(ManyRows, NanInARowStaysThere) {
  LayerProblem<float> p({4, 2, 20, 12}, {{40, 150}}, 6);
  LayerOutput expected(p), output(p);
  attend(Dense{}, p.query(), p.kv(), expected.state());
  p.q[(11 * 4 + 2) * 20 + 7] = NAN;  // row 11, query head 2
  attend(Dense{}, p.query(), p.kv(), output.state());
  for (std::size_t r = 0; r < 40; ++r) {
    for (std::size_t h = 0; h < 4; ++h) {
      if (r == 11 && h == 2) {
        for (std::size_t c = 0; c < 12; ++c) EXPECT_TRUE(std::isnan(output.row(r, h).out.data[c]));
        EXPECT_TRUE(std::isnan(*output.row(r, h).lse));
      } else {
        EXPECT_TRUE(same_bits(output.row(r, h).out.data, expected.row(r, h).out.data, 12)) << r << ", " << h;
      }
    }
  }
}

TEST(ManyRows, InfiniteAndMaskedLogits) {
  LayerProblem<float> p({2, 1, 1, 12}, {{150, 150}}, 7);
  for (float& x : p.q) x = 1;
  for (float& k : p.heads[0].keys) k = 0.5f;
  for (std::size_t i = 0; i < 5; ++i) p.heads[0].keys[i] = -INFINITY;
  p.heads[0].keys[60] = INFINITY;
  p.heads[0].keys[140] = INFINITY;
  LayerOutput output(p);
  attend(Dense{}, p.query(), p.kv(), output.state());
  EXPECT_TRUE(agrees_with_dense(output, p, p.query()));
  for (std::size_t r = 0; r < 150; ++r) {
    const StateView row = output.row(r, 1);
    if (r < 5) {  // nothing but masked keys
      EXPECT_EQ(row.out.data[0], 0.0f);
      EXPECT_EQ(row.lse_of(0), -INFINITY);
    } else if (r >= 60 && r < 140) {  // one infinite logit
      EXPECT_TRUE(same_bits(row.out.data, p.heads[0].values.data() + 60 * 12, 12)) << r;
    } else if (r >= 140) {  // two
      EXPECT_TRUE(std::isnan(row.out.data[0])) << r;
    }
  }
}

TEST(ManyRows, StridesOfQAndOut) {
  const LayerProblem<float> p({4, 2, 20, 12}, {{40, 60}}, 8);
  LayerOutput expected(p);
  attend(Dense{}, p.query(), p.kv(), expected.state());
  std::vector<float> q(4 * 40 * 23, NAN);  // [heads, rows, 23]
  for (std::size_t r = 0; r < 40; ++r) {
    for (std::size_t h = 0; h < 4; ++h) std::copy_n(p.q.data() + (r * 4 + h) * 20, 20, q.data() + (h * 40 + r) * 23);
  }
  LayerQuery query = p.query();
  query.rows = {q.data(), 40, 4, 20, 23, 40 * 23};
  Guarded<float> out(4 * 40 * 13);
  attend(Dense{}, query, p.kv(), LayerState{{out.data(), 40, 4, 12, 13, 40 * 13}});
  EXPECT_TRUE(out.fences_stand());
  for (std::size_t r = 0; r < 40; ++r) {
    for (std::size_t h = 0; h < 4; ++h) {
      const float* at = out.data() + (h * 40 + r) * 13;
      EXPECT_TRUE(same_bits(at, expected.row(r, h).out.data, 12));
      EXPECT_EQ(at[12], Guarded<float>::kPoison);
    }
  }
}

}  // namespace
}  // namespace skim::test
