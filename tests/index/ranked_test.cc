// SPDX-License-Identifier: Apache-2.0
// Are the positions found in one pass those that all scores rank first, however keys lie, and whatever is left of them?
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "support/indexes.h"

namespace skim::test {
namespace {

namespace kernel = HWY_NAMESPACE;

constexpr float kSmallSlopes[] = {0.001f, 0.0005f, 0.002f};

/// The first `count` unselected positions by a stable sort of all scores, pooled over the heads by the largest.
template <class Kv>
std::vector<Position> by_sorting(Source by, std::size_t count, const Query& q, const Kv& kv, const Selection& earlier) {
  Workspace ws;
  const auto s = kernel::scores(by, q, kv, ws);
  std::vector<Position> order;
  kernel::for_each_gap(earlier, q.visible, [&](skim::Span gap) {
    for (Position i = gap.first; i < gap.last; ++i) order.push_back(i);
  });
  const auto pooled = [&](Position i) {
    float top = -INFINITY;
    for (std::size_t h = 0; h < s.heads; ++h) {
      const float x = s.of.of_head(h)[i - q.visible.first];
      if (x > top) top = x;
    }
    return top;
  };
  std::stable_sort(order.begin(), order.end(), [&](Position a, Position b) { return pooled(a) > pooled(b); });
  order.resize(std::min(count, order.size()));
  std::sort(order.begin(), order.end());
  return order;
}

template <class Kv>
void expect_first(const Query& query, const Kv& kv, const std::vector<std::size_t>& counts, const Selection& earlier = {}) {
  const Query q = query.resolved(kv.size());
  for (const Source by : kSketched) {
    for (const std::size_t count : counts) {
      Workspace ws;
      Selection selection = earlier;
      const auto first = kernel::ranked_first(by, count, q, kv, selection, ws);
      ASSERT_EQ(std::vector<Position>(first.begin(), first.end()), by_sorting(by, count, q, kv, earlier))
          << name_of(by) << ", " << count << " of " << q.visible.size();
    }
  }
}

TEST(Ranked, AnyNumberOfKeysAndHeads) {
  for (const std::size_t n : {1u, 300u, 16383u, 16384u, 16640u, 20011u, 40000u}) {
    for (const std::size_t heads : {1u, 3u}) {
      const auto p = random_problem<BF16>({n, 16, 1, heads}, n + heads);
      const Sketches sketches(p.kv());
      expect_first(p.query(), sketches.beside(p.kv()), {1, n / 100 + 1, n / 20 + 1, n / 3 + 1});
    }
  }
}

TEST(Ranked, WhateverIsVisible) {
  constexpr Position n = 36000;
  const auto p = random_problem<BF16>({n, 16, 1, 2}, 1);
  const Sketches sketches(p.kv());
  for (const Position first : {0, 1, 63, 4095, 4097, 19000}) {
    for (const Position last : {17000, 33000, 35840, 35841, 36000}) {
      if (last <= first) continue;
      Query q = p.query();
      q.visible = {first, last};
      expect_first(q, sketches.beside(p.kv()), {200});
    }
  }
}

TEST(Ranked, UnderEveryRule) {
  const auto p = random_problem<BF16>({18000, 16, 1, 3}, 2);
  const Sketches sketches(p.kv());
  for (const LogitRule& rule : {LogitRule{.soft_cap = 2}, LogitRule{.alibi_slopes = kSmallSlopes}, LogitRule{.scale = -0.4}}) {
    Query q = p.query();
    q.logit = rule;
    expect_first(q, sketches.beside(p.kv()), {170});
  }
}

// Earlier stages have taken the best, or a stretch.
TEST(Ranked, OfWhatIsLeft) {
  const auto p = random_problem<BF16>({18000, 16, 1, 2}, 3);
  const Sketches sketches(p.kv());
  const auto kv = sketches.beside(p.kv());
  expect_first(p.query(), kv, {1, 180}, select(TopK{300}, p.query(), p.kv()));
  expect_first(p.query(), kv, {1, 180}, select(stack(Sinks{700}, Window{3001}), p.query(), p.kv()));
  expect_first(p.query(), kv, {1, 180}, select(Sinks{17990}, p.query(), p.kv()));
}

/// Keys along the query: the score of position i is near score(i).
void expect_first_of(const std::function<double(std::size_t)>& score, std::size_t n = 18000) {
  constexpr std::size_t d = 16;
  auto p = random_problem<float>({n, d, 1, 1}, 4);
  for (std::size_t c = 0; c < d; ++c) p.q[c] = 1;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t c = 0; c < d; ++c) p.keys[i * d + c] = static_cast<float>(score(i)) + 0.01f * p.keys[i * d + c];
  }
  const Sketches sketches(p.kv());
  expect_first(p.query(), sketches.beside(p.kv()), {1, 50, 180, 1800});
}

// A sample of runs is fooled by these: too high a threshold must be noticed, too low a one only costs time.
TEST(Ranked, KeysInAnUnfortunateOrder) {
  expect_first_of([](std::size_t i) { return static_cast<double>(i); });
  expect_first_of([](std::size_t i) { return -static_cast<double>(i); });
  expect_first_of([](std::size_t i) { return i % 281 < 64 ? 10.0 : 0.0; });  // about as long as a step of the sample
  expect_first_of([](std::size_t i) { return i >= 9000 && i < 9150 ? 100.0 : 0.0; });
  expect_first_of([](std::size_t i) { return i >= 17920 ? 100.0 : 0.0; });  // the tail
  expect_first_of([](std::size_t i) { return i >= 17920 ? -100.0 : 0.0; });
  expect_first_of([](std::size_t i) { return static_cast<double>(i % 7); });
}

TEST(Ranked, EqualKeysAndTheirTies) {
  constexpr std::size_t n = 18000, d = 16;
  auto p = random_problem<float>({n, d, 1, 2}, 5);
  for (std::size_t i = 9; i < n; ++i) std::copy_n(p.keys.data() + i * 7919 % 9 * d, d, p.keys.data() + i * d);
  const Sketches sketches(p.kv());
  expect_first(p.query(), sketches.beside(p.kv()), {1, 100, 2000, 4000});
  std::fill(p.keys.begin(), p.keys.end(), 0.5f);
  const Sketches alike(p.kv());
  expect_first(p.query(), alike.beside(p.kv()), {1, 100, 4000});
}

TEST(Ranked, KeysWithoutASketchAndQueriesThatAreNotFinite) {
  auto p = random_problem<float>({18000, 16, 1, 2}, 6);
  for (const std::size_t i : {100u, 9000u, 17990u}) p.keys[i * 16] = i == 100 ? NAN : 1e20f;
  const Sketches sketches(p.kv());
  expect_first(p.query(), sketches.beside(p.kv()), {1, 180});
  Query q = p.query();
  q.visible.first = 9001;  // none of them in a segment
  expect_first(q, sketches.beside(p.kv()), {1, 90});
  p.q[3] = NAN;
  expect_first(p.query(), sketches.beside(p.kv()), {1, 180});
  p.q[19] = INFINITY;
  expect_first(p.query(), sketches.beside(p.kv()), {1, 180});
}

// Segments so long that hardly anything, or nothing, is sketched.
TEST(Ranked, LongSegments) {
  const auto p = random_problem<BF16>({32384, 16, 1, 1}, 7);
  for (const std::size_t segment : {4096u, 16384u, 32768u, 65536u}) {
    Sketches sketches;
    sketches.one = Sketch1(segment);
    sketches.four = Sketch4(segment);
    sketches.eight = Sketch8(segment);
    append(sketches.one, p.kv());
    append(sketches.four, p.kv());
    append(sketches.eight, p.kv());
    for (const Position first : {0, 12284, 15999, 16000}) {  // of 16384 keys that have a sketch 4,100 and 384 are visible
      Query q = p.query();
      q.visible.first = first;
      expect_first(q, sketches.beside(p.kv()), {1, 300});
    }
  }
}

// In one pass, where nobody else wants the scores: nothing but a sample is read twice.
TEST(Ranked, ReadsNoKeyButTheTail) {
  const auto p = random_problem<BF16>({20000, 64, 1, 1}, 8);
  const Sketches sketches(p.kv());
  const Query q = p.query().resolved(20000);
  Workspace ws;
  Selection selection;
  const auto kv = sketches.beside(p.kv());
  const kernel::Asking asking(q, kv, ws);
  kernel::ranked_first(Source::kSketch4, 200, q, kv, selection, ws);
  EXPECT_EQ(ws.reads.keys, 20000u % 256);
  EXPECT_LT(ws.reads.index_bytes, sketches.four.bytes() * 14 / 10);
  EXPECT_EQ(ws.asked.scored_by, Source::kKeys) << "no scores are left behind";
}

}  // namespace
}  // namespace skim::test
