// SPDX-License-Identifier: Apache-2.0
// Does a learned sink logit enlarge the denominator, of its own head, once?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

constexpr float kFourSinks[] = {0.0f, 1.5f, -3.0f, 20.0f};

// Logits 0 and values 1: o = n / (n + e^sink).
TEST(SinkLogit, ByHand) {
  auto p = random_problem<float>({50, 8, 3, 4}, 1);
  for (float& k : p.keys) k = 0;
  for (float& v : p.values) v = 1;
  Query q = p.query();
  q.sink_logits = kFourSinks;
  for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
    q.grouping = grouping;
    for (q.position = 0; q.position < 50; q.position += 7) {
      const State state = attend(Dense{}, q, p.kv());
      const double n = static_cast<double>(q.position + 1);
      for (std::size_t h = 0; h < 4; ++h) {
        EXPECT_NEAR(state.out(h)[1], n / (n + std::exp(static_cast<double>(kFourSinks[h]))), 1e-6);
        EXPECT_NEAR(state.lse(h), std::log(n + std::exp(static_cast<double>(kFourSinks[h]))), 1e-5);
      }
    }
  }
}

TEST(SinkLogit, AgainstTheReference) {
  for (const std::size_t n : {0u, 1u, 17u, 5000u}) {
    const auto p = random_problem<float>({n, 24, 24, 4}, n + 1);
    Query q = p.query();
    q.sink_logits = kFourSinks;
    State state = attend(Dense{}, q, p.kv());
    EXPECT_TRUE(agrees_with_dense(state.view(), p, q)) << n << " keys";
  }
}

TEST(SinkLogit, IsTheMergeWithAStateOfNoValue) {
  const auto p = random_problem<float>({40, 24, 24, 4}, 2);
  Query q = p.query();
  State plain = attend(Dense{}, q, p.kv());
  q.sink_logits = kFourSinks;
  State with = attend(Dense{}, q, p.kv());
  State sink(4, 24);
  std::fill_n(sink.out(), 4 * 24, 0.0f);
  std::copy_n(kFourSinks, 4, sink.view().lse);
  merge(plain.view(), sink.view());
  for (std::size_t i = 0; i < 4 * 24; ++i) EXPECT_NEAR(with.out()[i], plain.out()[i], 1e-6);
  for (std::size_t h = 0; h < 4; ++h) EXPECT_NEAR(with.lse(h), plain.lse(h), 1e-5);
}

TEST(SinkLogit, MinusInfinityIsNone) {
  const auto p = random_problem<float>({40, 24, 24, 2}, 3);
  Query q = p.query();
  State plain = attend(Dense{}, q, p.kv());
  const float none[] = {-INFINITY, -INFINITY};
  q.sink_logits = none;
  State with = attend(Dense{}, q, p.kv());
  EXPECT_TRUE(same_bits(with.out(), plain.out(), 48));
  EXPECT_TRUE(same_bits(with.view().lse, plain.view().lse, 2));
}

TEST(SinkLogit, OfAnEmptySetIsAllThereIs) {
  const auto p = random_problem<float>({0, 24, 24, 4}, 4);
  Query q = p.query();
  q.sink_logits = kFourSinks;
  const State state = attend(Dense{}, q, p.kv());
  for (std::size_t i = 0; i < 4 * 24; ++i) EXPECT_EQ(state.out()[i], 0.0f);
  for (std::size_t h = 0; h < 4; ++h) EXPECT_EQ(state.lse(h), kFourSinks[h]);
}

TEST(SinkLogit, LeavesAnInfiniteLogitItsValue) {
  auto p = random_problem<float>({40, 8, 24, 1}, 5);
  p.keys[3 * 8] = p.q[0] > 0 ? INFINITY : -INFINITY;
  Query q = p.query();
  q.sink_logits = kFourSinks + 1;
  const State state = attend(Dense{}, q, p.kv());
  EXPECT_TRUE(same_bits(state.out(), p.values.data() + 3 * 24, 24));
  EXPECT_EQ(state.lse(), INFINITY);
}

// The sink is not a position: no estimator sees it, no budget counts it.
TEST(SinkLogit, DoesNotChangeTheSelection) {
  const auto p = random_problem<float>({40, 24, 24, 4}, 6);
  Query q = p.query();
  const Selection without = select(stack(TopK{5}, PriorityTail{6}), q, p.kv());
  q.sink_logits = kFourSinks;
  const Selection with = select(stack(TopK{5}, PriorityTail{6}), q, p.kv());
  ASSERT_EQ(with.picks().size(), 11u);
  for (std::size_t i = 0; i < 11; ++i) {
    EXPECT_EQ(with.picks()[i].position, without.picks()[i].position);
    EXPECT_EQ(with.picks()[i].log_weight, without.picks()[i].log_weight);
  }
}

}  // namespace
}  // namespace skim::test
