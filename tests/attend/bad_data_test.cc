// SPDX-License-Identifier: Apache-2.0
// What do NaN, infinities and empty sets give? What is written down, and no more than that: data is never an error.
#include <cstdint>
#include <limits>

#include <gtest/gtest.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#include "skim/skim.h"
#include "support/layer_problem.h"

namespace skim::test {
namespace {

constexpr std::size_t kColumns = 16;

bool all_nan(const float* out, std::size_t count) {
  return std::all_of(out, out + count, [](float x) { return std::isnan(x); });
}

/// A problem in which the logit of key i is logits[i], for each of `heads` heads.
Problem<float> with_logits(const std::vector<float>& logits, std::size_t heads = 1) {
  auto p = random_problem<float>({logits.size(), 1, kColumns, heads}, logits.size());
  for (float& x : p.q) x = 1;
  p.keys = logits;
  return p;
}

Query query_of(const Problem<float>& p) {
  Query q = p.query();
  q.logit.scale = 1;
  return q;
}

template <class E>
void expect_empty(const E& estimator, const Query& q, const Problem<float>& p) {
  Guarded<float> out(p.shape.group * p.shape.d_v), lse(p.shape.group);
  Workspace ws;
  attend(estimator, q, p.kv(), {{out.data(), p.shape.group, p.shape.d_v}, lse.data()}, ws);
  for (std::size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out.data()[i], 0.0f);
  for (std::size_t h = 0; h < lse.size(); ++h) EXPECT_EQ(lse.data()[h], -INFINITY);
  EXPECT_TRUE(out.fences_stand() && lse.fences_stand());
}

TEST(BadData, NothingToAttendTo) {
  const auto none = random_problem<float>({0, 24, kColumns, 3}, 1);
  const auto some = random_problem<float>({40, 24, kColumns, 3}, 2);
  const auto expect_all_empty = [](const Problem<float>& p, auto... estimators) {
    for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
      Query q = p.query();
      q.grouping = grouping;
      (expect_empty(estimators, q, p), ...);
    }
  };
  expect_all_empty(none, Dense{}, Sinks{4}, Window{4}, TopK{4}, TopK{power(2, 0.5)}, UniformTail{4}, PriorityTail{4});
  expect_all_empty(some, Sinks{0}, Window{0}, TopK{0}, TopK{fraction(0)}, UniformTail{0}, PriorityTail{0});
  expect_all_empty(some, stack(Sinks{0}, Window{0}, TopK{0}, PriorityTail{0}));
}

TEST(BadData, MoreThanThereIsIsAll) {
  const auto p = random_problem<float>({40, 24, kColumns, 3}, 3);
  const State all = attend(Dense{}, p.query(), p.kv());
  constexpr Position kMost = std::numeric_limits<Position>::max();
  const auto expect_dense = [&](const auto& estimator) {
    const State state = attend(estimator, p.query(), p.kv());
    EXPECT_TRUE(same_bits(state.out(), all.out(), 3 * kColumns));
  };
  expect_dense(Sinks{kMost});
  expect_dense(Window{kMost});
  expect_dense(TopK{kMost});
  expect_dense(TopK{std::numeric_limits<std::size_t>::max()});
  expect_dense(TopK{power(1e300, 1)});
  expect_dense(UniformTail{kMost});
  expect_dense(PriorityTail{kMost});
}

TEST(BadData, EveryKeyMaskedIsTheEmptySet) {
  const auto p = with_logits(std::vector<float>(40, -INFINITY), 2);
  const Query q = query_of(p);
  expect_empty(Dense{}, q, p);
  expect_empty(TopK{5}, q, p);
  expect_empty(UniformTail{5}, q, p);
  expect_empty(PriorityTail{5}, q, p);
}

// A key with a logit of -inf might as well not be there.
TEST(BadData, MinusInfinityIsMasked) {
  for (const std::size_t n : {1u, 15u, 16u, 17u, 64u, 4096u}) {
    SCOPED_TRACE(testing::Message() << n << " keys");
    auto p = random_problem<float>({n + 1, 8, kColumns, 2}, n);
    std::fill_n(p.q.begin(), 16, 0.5f);
    p.keys[n * 8] = -INFINITY;
    Query q = p.query();
    const State with = attend(Dense{}, q, p.kv());
    q.visible.last = static_cast<Position>(n);
    const State without = attend(Dense{}, q, p.kv());
    EXPECT_TRUE(same_bits(with.out(), without.out(), 2 * kColumns));
    EXPECT_EQ(with.lse(0), without.lse(0));
  }
}

TEST(BadData, OneInfiniteLogitIsTheAnswer) {
  for (const std::size_t at : {0u, 1u, 17u, 4999u}) {
    std::vector<float> logits(5000, 0.25f);
    logits[at] = INFINITY;
    logits[7] = -INFINITY;
    const auto p = with_logits(logits);
    const auto expect_its_value = [&](const auto& estimator) {
      const State state = attend(estimator, query_of(p), p.kv());
      EXPECT_TRUE(same_bits(state.out(), p.values.data() + at * kColumns, kColumns)) << "at " << at;
      EXPECT_EQ(state.lse(), INFINITY);
    };
    expect_its_value(Dense{});
    expect_its_value(TopK{3});
    expect_its_value(PriorityTail{3});
    expect_its_value(stack(Sinks{8}, TopK{3}));
    // Alone as well as in two parts.
    State first = attend(Sinks{50}, query_of(p), p.kv());
    Query rest = query_of(p);
    rest.visible.first = 50;
    State second = attend(Dense{}, rest, p.kv());
    merge(first.view(), second.view());
    EXPECT_TRUE(same_bits(first.out(), p.values.data() + at * kColumns, kColumns)) << "at " << at;
  }
}

TEST(BadData, SeveralInfiniteLogitsHaveNoLimit) {
  for (const std::size_t second : {1u, 17u, 4999u}) {
    std::vector<float> logits(5000, 0.25f);
    logits[0] = logits[second] = INFINITY;
    const auto p = with_logits(logits);
    for (const bool picks : {false, true}) {
      const State state =
          picks ? attend(TopK{5}, query_of(p), p.kv()) : attend(Dense{}, query_of(p), p.kv());
      EXPECT_TRUE(all_nan(state.out(), kColumns)) << "second at " << second;
      EXPECT_TRUE(std::isnan(state.lse()));
    }
  }
}

// NaN reaches what it is part of, and nothing else.
TEST(BadData, NanInAQueryRowIsInTheOutputOfThatHead) {
  const auto clean = random_problem<float>({100, 24, kColumns, 8}, 4);
  for (std::size_t bad = 0; bad < 8; ++bad) {
    auto p = clean;
    p.q[bad * 24 + 3 * bad] = NAN;
    const auto expect_only_that_head = [&](const auto& estimator, Grouping grouping, double soft_cap) {
      Query q = p.query(), clean_q = clean.query();
      q.grouping = clean_q.grouping = grouping;
      q.logit.soft_cap = clean_q.logit.soft_cap = soft_cap;
      const State state = attend(estimator, q, p.kv()), expected = attend(estimator, clean_q, clean.kv());
      for (std::size_t h = 0; h < 8; ++h) {
        if (h == bad) {
          EXPECT_TRUE(all_nan(state.out(h), kColumns));
          EXPECT_TRUE(std::isnan(state.lse(h)));
        } else {
          EXPECT_TRUE(same_bits(state.out(h), expected.out(h), kColumns)) << "head " << h;
          EXPECT_EQ(state.lse(h), expected.lse(h)) << "head " << h;
        }
      }
    };
    expect_only_that_head(Dense{}, Grouping::kPerGroup, 0);
    expect_only_that_head(Dense{}, Grouping::kPerGroup, 30);
    expect_only_that_head(UniformTail{7}, Grouping::kPerGroup, 0);
    expect_only_that_head(TopK{7}, Grouping::kPerHead, 0);
    expect_only_that_head(UniformTail{7}, Grouping::kPerHead, 0);
  }
}

// A head of NaN has no say in what the others of its group select.
TEST(BadData, NanInAQueryRowDoesNotSelect) {
  auto p = random_problem<float>({100, 24, kColumns, 3}, 5);
  auto two = p;
  two.shape.group = 2;
  std::copy_n(p.q.begin() + 48, 24, two.q.begin() + 24);
  std::fill_n(p.q.begin() + 24, 24, NAN);
  const Selection with = select(TopK{9}, p.query(), p.kv()), without = select(TopK{9}, two.query(), two.kv());
  ASSERT_EQ(with.picks().size(), 9u);
  for (std::size_t i = 0; i < 9; ++i) EXPECT_EQ(with.picks()[i].position, without.picks()[i].position);
  const State state = attend(TopK{9}, p.query(), p.kv()), expected = attend(TopK{9}, two.query(), two.kv());
  EXPECT_TRUE(same_bits(state.out(0), expected.out(0), kColumns));
  EXPECT_TRUE(same_bits(state.out(2), expected.out(1), kColumns));
  EXPECT_TRUE(all_nan(state.out(1), kColumns));
}

TEST(BadData, NanInASelectedKeyIsInEveryHead) {
  for (const std::size_t at : {0u, 15u, 16u, 99u}) {
    for (const double soft_cap : {0.0, 30.0}) {
      auto p = random_problem<float>({100, 24, kColumns, 3}, 6);
      p.keys[at * 24 + 5] = NAN;
      Query q = p.query();
      q.logit.soft_cap = soft_cap;
      const State state = attend(Dense{}, q, p.kv());
      EXPECT_TRUE(all_nan(state.out(), 3 * kColumns)) << "at " << at;
      for (std::size_t h = 0; h < 3; ++h) EXPECT_TRUE(std::isnan(state.lse(h)));
    }
  }
}

TEST(BadData, NanInASelectedValueIsInItsColumn) {
  const auto clean = random_problem<float>({5000, 24, kColumns, 3}, 7);
  const State expected = attend(Dense{}, clean.query(), clean.kv());
  for (const std::size_t at : {0u, 15u, 16u, 4096u, 4999u}) {
    for (const float bad : {NAN, INFINITY}) {
      auto p = clean;
      p.values[at * kColumns + 5] = bad;
      const State state = attend(Dense{}, p.query(), p.kv());
      for (std::size_t h = 0; h < 3; ++h) {
        EXPECT_FALSE(std::isfinite(state.out(h)[5]));
        EXPECT_TRUE(same_bits(state.out(h), expected.out(h), 5));
        EXPECT_TRUE(same_bits(state.out(h) + 6, expected.out(h) + 6, kColumns - 6));
        EXPECT_EQ(state.lse(h), expected.lse(h));
      }
    }
  }
}

TEST(BadData, NanInOneRowOfAChunkLeavesTheOthers) {
  LayerProblem<float> p({}, {{5, 30}, {2, 9}}, 8);
  LayerOutput expected(p), output(p);
  const auto e = stack(Sinks{2}, TopK{3}, PriorityTail{4});
  attend(e, p.query(), p.kv(), expected.state());
  std::fill_n(p.q.begin() + 2 * 4 * 24, 4 * 24, NAN);
  attend(e, p.query(), p.kv(), output.state());
  for (std::size_t r = 0; r < 7; ++r) {
    for (std::size_t h = 0; h < 4; ++h) {
      if (r == 2) {
        EXPECT_TRUE(all_nan(output.row(r, h).out.data, kColumns));
      } else {
        EXPECT_TRUE(same_bits(output.row(r, h).out.data, expected.row(r, h).out.data, kColumns));
      }
    }
  }
}

// NaN is the lowest logit there is, whatever the order of the keys; it is an answer only when nothing else is left.
TEST(BadData, NanKeysAreSelectedLast) {
  std::vector<float> logits(100, NAN);
  for (std::size_t i = 0; i < 10; ++i) logits[i * 7 + 3] = i % 2 == 0 ? -INFINITY : -1e30f;
  const auto p = with_logits(logits);
  const Selection best = select(TopK{5}, query_of(p), p.kv());
  ASSERT_EQ(best.picks().size(), 5u);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(best.picks()[i].position, static_cast<Position>((2 * i + 1) * 7 + 3));
  const Selection none_left = select(TopK{99}, query_of(p), p.kv());
  EXPECT_EQ(none_left.picks().size(), 99u);
}

// A sampler gives NaN and -inf no probability and its sums no NaN.
TEST(BadData, SamplersLeaveOutWhatHasNoProbability) {
  std::vector<float> logits(100, NAN);
  for (std::size_t i = 0; i < 100; i += 2) logits[i] = -INFINITY;
  for (std::size_t i = 0; i < 10; ++i) logits[i * 7 + 3] = 0.1f * static_cast<float>(i);
  for (const std::size_t heads : {1u, 2u}) {
    const auto p = with_logits(logits, heads);
    const Selection few = select(PriorityTail{4}, query_of(p), p.kv());
    ASSERT_EQ(few.picks().size(), 4u);
    for (const Pick& pick : few.picks()) {
      EXPECT_EQ(pick.position % 7, 3);
      EXPECT_TRUE(std::isfinite(pick.log_weight));
      EXPECT_GE(pick.log_weight, 0.0);
    }
    // More picks than probable positions: all of them, exactly.
    const Selection all = select(PriorityTail{50}, query_of(p), p.kv());
    ASSERT_EQ(all.picks().size(), 10u);
    for (const Pick& pick : all.picks()) EXPECT_EQ(pick.log_weight, 0.0);
  }
}

// Poor machines for subnormal numbers are told to take them for 0. That may not matter.
#if defined(__SSE__)
TEST(BadData, SubnormalsMayBeFlushed) {
  auto p = random_problem<float>({100, 24, kColumns, 2}, 9);
  for (std::size_t i = 0; i < p.keys.size(); i += 3) p.keys[i] = 1e-41f;
  for (std::size_t i = 0; i < p.values.size(); i += 3) p.values[i] *= 0x1p-125f;
  const unsigned int saved = _mm_getcsr();
  _mm_setcsr(saved | 0x8040u);  // flush to zero, denormals are zero
  State flushed = attend(Dense{}, p.query(), p.kv());
  _mm_setcsr(saved);
  EXPECT_TRUE(agrees_with_dense(attend(Dense{}, p.query(), p.kv()).view(), p, p.query()));
  const Matrix keys = numbers_of(p.keys, 100, 24), values = numbers_of(p.values, 100, kColumns);
  for (std::size_t h = 0; h < 2; ++h) {
    const ReferenceQuery row = reference_query(p.query(), h, 100);
    const auto reference = reference_attention(reference_logits(row, keys), values, everything(0, 100));
    for (std::size_t c = 0; c < kColumns; ++c) {
      // What may be lost is one subnormal number a key.
      EXPECT_NEAR(flushed.out(h)[c], reference.out[c], 1e-6 * reference.out_magnitude[c] + 0x1p-126);
    }
  }
}
#endif

}  // namespace
}  // namespace skim::test
