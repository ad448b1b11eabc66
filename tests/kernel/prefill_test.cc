// SPDX-License-Identifier: Apache-2.0
// Do many rows at once get the attention that each row is due, and nothing of its neighbours'?
#include <gtest/gtest.h>

#include <limits>
#include <span>
#include <vector>

#include "skim/skim.h"
#include "support/problem.h"
#include "support/threads.h"

namespace skim::test {
namespace {

/// A chunk of m positions: the rows of a problem are [m, g].
template <class K, class V = K>
struct Chunk {
  using Real = RealOf<K>;

  Problem<K, V> problem;
  std::size_t rows;   // m
  std::size_t group;  // g
  BasicLayerQuery<Real> layer{};
  std::vector<Real> out, lse;

  Chunk(Problem<K, V> p, std::size_t m, std::size_t g)
      : problem(std::move(p)),
        rows(m),
        group(g),
        out(m * g * problem.shape.d_v, Real{7}),
        lse(m * g, Real{7}) {
    layer.rows = {problem.q.data(), m, g, problem.shape.d};
  }

  void run(const Options& options = {}) {
    const auto kv = problem.kv();
    const BasicLayerState<Real> state{{out.data(), rows, group, problem.shape.d_v}, lse.data()};
    attend(Dense{}, layer, LayerKv<ContiguousKv<K, V>>{std::span(&kv, 1), 1}, state, options);
  }

  /// Row r as a query of its own.
  BasicQuery<Real> query(std::size_t r) const {
    BasicQuery<Real> q = problem.query();
    q.rows = {problem.q.data() + r * group * problem.shape.d, group, problem.shape.d};
    q.position = static_cast<Position>(problem.shape.n) - static_cast<Position>(rows - r);
    q.causal = layer.causal;
    q.logit = layer.logit;
    q.sink_logits = layer.sink_logits;
    if (!layer.visible.empty()) q.visible = layer.visible[r];
    return q;
  }
  BasicStateView<Real> state(std::size_t r) {
    return {{out.data() + r * group * problem.shape.d_v, group, problem.shape.d_v},
            lse.data() + r * group};
  }
  void expect_right() {
    for (std::size_t r = 0; r < rows; ++r) {
      ASSERT_TRUE(agrees_with_dense(state(r), problem, query(r))) << "row " << r << " of " << rows;
    }
  }
};

template <class K, class V = K>
Chunk<K, V> random_chunk(std::size_t n, std::size_t m, std::size_t g, std::size_t d, std::size_t d_v) {
  return {random_problem<K, V>({n, d, d_v, m * g}, n * 1000 + m), m, g};
}

TEST(Prefill, IsRightForOddSizes) {
  for (const std::size_t n : {4u, 7u, 33u, 127u, 128u, 129u, 300u}) {
    for (const std::size_t m : {4u, 5u, 31u, 64u}) {
      if (m > n) continue;
      for (const std::size_t d : {1u, 8u, 46u, 128u}) {
        SCOPED_TRACE(testing::Message() << "n " << n << ", m " << m << ", d " << d);
        auto chunk = random_chunk<float>(n, m, 3, d, d + 5);
        chunk.run();
        chunk.expect_right();
      }
    }
  }
}

TEST(Prefill, IsRightForEveryStorage) {
  const auto check = [](auto chunk) {
    chunk.run();
    chunk.expect_right();
  };
  check(random_chunk<F16>(200, 20, 4, 72, 40));
  check(random_chunk<BF16>(200, 20, 4, 72, 40));
  check(random_chunk<float, BF16>(200, 20, 1, 64, 64));
  check(random_chunk<F16, float>(200, 20, 8, 33, 65));
  check(random_chunk<I8>(200, 20, 4, 72, 40));
  check(random_chunk<F16, I8>(200, 20, 3, 33, 65));
  check(random_chunk<double>(200, 20, 4, 40, 72));
}

TEST(Prefill, KeepsToLogitRulesVisibleRangesAndSinks) {
  const std::size_t n = 300, m = 70, g = 2;
  const std::vector<float> slopes{0.25f, 0.01f}, sinks{0.5f, -2.0f};
  std::vector<Span> windows, odd;
  for (std::size_t r = 0; r < m; ++r) {
    windows.push_back(sliding_window(static_cast<Position>(n - m + r), 50));
    odd.push_back({static_cast<Position>(r * 3),
                   static_cast<Position>(r % 7 == 0 ? r : 250 + r / 2)});  // some empty
  }
  for (const bool causal : {true, false}) {
    for (const std::vector<Span>& visible : {std::vector<Span>{}, windows, odd}) {
      for (const double cap : {0.0, 5.0}) {
        auto chunk = random_chunk<float>(n, m, g, 64, 64);
        chunk.layer.causal = causal;
        chunk.layer.visible = visible;
        chunk.layer.logit.soft_cap = cap;
        chunk.layer.logit.alibi_slopes = slopes.data();
        chunk.layer.sink_logits = sinks.data();
        chunk.run();
        chunk.expect_right();
      }
    }
  }
}

/// What a later row sees must not reach an earlier one, though they share panels and blocks.
TEST(Prefill, PoisonReachesOnlyTheRowsThatSeeIt) {
  for (const float poison :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const bool in_values : {true, false}) {
      auto clean = random_chunk<float>(150, 40, 2, 32, 32);
      clean.run();
      auto poisoned = random_chunk<float>(150, 40, 2, 32, 32);
      const std::size_t at = 130;  // rows from 20 on see it
      auto& where = in_values ? poisoned.problem.values : poisoned.problem.keys;
      where[at * 32 + 3] = in_values ? poison : std::numeric_limits<float>::quiet_NaN();
      poisoned.run();
      EXPECT_TRUE(same_bits(poisoned.out.data(), clean.out.data(), 20 * 2 * 32));
      EXPECT_TRUE(same_bits(poisoned.lse.data(), clean.lse.data(), 20 * 2));
      for (std::size_t r = 20; r < 40; ++r)
        EXPECT_FALSE(std::isfinite(poisoned.out[r * 2 * 32 + 3])) << r;
    }
  }
}

TEST(Prefill, InfiniteLogits) {
  auto chunk = random_chunk<float>(64, 8, 1, 4, 8);
  auto& p = chunk.problem;
  for (float& x : p.q) x = 1;
  for (float& x : p.keys) x = 0;
  p.keys[60 * 4] =
      std::numeric_limits<float>::infinity();  // rows 4.. see one +inf logit: the limit is its value
  p.keys[62 * 4] = std::numeric_limits<float>::infinity();  // rows 6.. see two: NaN
  chunk.run();
  for (std::size_t r = 0; r < 8; ++r) {
    for (std::size_t c = 0; c < 8; ++c) {
      const float x = chunk.out[r * 8 + c];
      if (r < 4)
        EXPECT_TRUE(std::isfinite(x));
      else if (r < 6)
        EXPECT_EQ(x, p.values[60 * 8 + c]);
      else
        EXPECT_TRUE(std::isnan(x));
    }
  }
}

TEST(Prefill, BitsDoNotDependOnNeighboursOrThreads) {
  auto all = random_chunk<BF16>(400, 400, 4, 64, 64);
  all.run();
  auto threaded = random_chunk<BF16>(400, 400, 4, 64, 64);
  std::vector<Workspace> workspaces(3);
  threaded.run({.executor = real_threads(3), .workspaces = workspaces});
  EXPECT_TRUE(same_bits(all.out.data(), threaded.out.data(), all.out.size()));

  // The last 37 rows as a chunk of their own.
  Chunk<BF16> tail{all.problem, 37, 4};
  tail.layer.rows.data = all.problem.q.data() + 363 * 4 * 64;
  tail.run();
  EXPECT_TRUE(same_bits(tail.out.data(), all.out.data() + 363 * 4 * 64, tail.out.size()));
}

}  // namespace
}  // namespace skim::test
