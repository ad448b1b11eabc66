// SPDX-License-Identifier: Apache-2.0
// Are logits made as the rule says: scale, soft-cap, ALiBi; and does their size not matter?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

constexpr std::size_t kAroundBlocks[] = {1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 4095, 4096, 4097};
constexpr float kSlopes[] = {0.5f, 0.25f, 0.0625f};

/// Dense, and the same positions as picks with log weights, against the reference.
void expect_rule_holds(const LogitRule& rule, double spread = 1.5) {
  for (const std::size_t n : kAroundBlocks) {
    SCOPED_TRACE(testing::Message() << n << " keys");
    const auto p = random_problem<float>({n, 20, 12, 3}, n, spread);
    Query q = p.query();
    q.logit = rule;
    State state = attend(Dense{}, q, p.kv());
    EXPECT_TRUE(agrees_with_dense(state.view(), p, q));
    Selection picks;
    for (Position i = 0; i < static_cast<Position>(n); i += 3) picks.add(i, i % 2 == 0 ? 1.25 : -0.5);
    state = attend(picks, q, p.kv());
    EXPECT_TRUE(agrees(state.view(), p, q, list_of(picks)));
  }
}

TEST(LogitRule, Scale) {
  for (const double scale : {1e-30, 0.01, 1.0, 3.0, -0.5}) {
    SCOPED_TRACE(testing::Message() << "scale " << scale);
    expect_rule_holds({.scale = scale});
  }
}

TEST(LogitRule, DefaultScaleIsOneOverTheRootOfD) {
  const auto p = random_problem<float>({50, 20, 12, 3}, 1);
  Query q = p.query();
  q.logit.scale = 1 / std::sqrt(20.0);
  const State given = attend(Dense{}, q, p.kv()), by_default = attend(Dense{}, p.query(), p.kv());
  EXPECT_TRUE(same_bits(given.out(), by_default.out(), 3 * 12));
}

// At n = block + 1 the padding of the last block would come back from the soft-cap as a finite logit.
TEST(LogitRule, SoftCap) {
  for (const double cap : {0.5, 30.0, 1000.0}) {
    SCOPED_TRACE(testing::Message() << "cap " << cap);
    expect_rule_holds({.soft_cap = cap});
    expect_rule_holds({.soft_cap = cap}, 40);
  }
}

TEST(LogitRule, Alibi) { expect_rule_holds({.alibi_slopes = kSlopes}); }

TEST(LogitRule, AllTogether) { expect_rule_holds({.scale = 0.3, .soft_cap = 5, .alibi_slopes = kSlopes}); }

TEST(LogitRule, AlibiCountsDistanceInBothDirections) {
  const auto p = random_problem<float>({50, 20, 12, 3}, 1);
  Query q = p.query();
  q.logit.alibi_slopes = kSlopes;
  q.causal = false;
  q.position = 20;
  State state = attend(Dense{}, q, p.kv());
  EXPECT_TRUE(agrees_with_dense(state.view(), p, q));
}

TEST(LogitRule, InDouble) {
  const auto p = random_problem<double>({100, 20, 12, 3}, 1);
  BasicQuery<double> q = p.query();
  q.logit = {.scale = 0.3, .soft_cap = 5, .alibi_slopes = kSlopes};
  BasicState<double> state = attend(Dense{}, q, p.kv());
  EXPECT_TRUE(agrees_with_dense(state.view(), p, q));
}

/// Logits offset + i/16: exact in float for |offset| <= 2^19.
Problem<float> with_offset(float offset) {
  auto p = random_problem<float>({200, 2, 5, 1}, 7);
  p.q = {1, 1};
  for (std::size_t i = 0; i < 200; ++i) {
    p.keys[2 * i] = static_cast<float>(i * 37 % 101) / 16;
    p.keys[2 * i + 1] = offset;
  }
  return p;
}

// There is no magic number: a logit of -500 000 is as good as any.
TEST(LogitRule, AnOffsetOfAllLogitsChangesNothing) {
  const auto p = with_offset(0);
  Query q = p.query();
  q.logit.scale = 1;
  const State plain = attend(Dense{}, q, p.kv());
  for (const float offset : {-500000.0f, -50001.0f, -104.0f, 88.0f, 104.0f, 500000.0f}) {
    SCOPED_TRACE(testing::Message() << "offset " << offset);
    const auto shifted = with_offset(offset);
    q.rows.data = shifted.q.data();
    State state = attend(Dense{}, q, shifted.kv());
    EXPECT_TRUE(same_bits(state.out(), plain.out(), 5));
    EXPECT_TRUE(agrees_with_dense(state.view(), shifted, q));
  }
}

TEST(LogitRule, LogitsOfAnySizeAreFinite) {
  for (const float size : {1e6f, 1e30f, -1e6f, -1e30f}) {
    SCOPED_TRACE(testing::Message() << "logits of " << size);
    auto p = with_offset(0);
    for (std::size_t i = 0; i < 200; ++i) p.keys[2 * i] = 0, p.keys[2 * i + 1] = size;
    Query q = p.query();
    q.logit.scale = 1;
    State state = attend(Dense{}, q, p.kv());
    EXPECT_TRUE(agrees_with_dense(state.view(), p, q));

    auto level = with_offset(0);
    for (float& k : level.keys) k = 0;
    q.rows.data = level.q.data();
    const State mean = attend(Dense{}, q, level.kv());
    EXPECT_TRUE(same_bits(state.out(), mean.out(), 5));
  }
}

TEST(LogitRule, OneKeyFarAboveTheRestIsTheAnswer) {
  for (const float gap : {105.0f, 1e6f, 1e30f}) {
    auto p = with_offset(-gap);
    p.keys[2 * 77 + 1] = gap;
    Query q = p.query();
    q.logit.scale = 1;
    const State state = attend(Dense{}, q, p.kv());
    EXPECT_TRUE(same_bits(state.out(), p.values.data() + 77 * 5, 5)) << "gap " << gap;
  }
}

// A key twice is the key once with a logit higher by ln 2.
TEST(LogitRule, LogWeightOfTwoIsTheKeyTwice) {
  auto p = random_problem<float>({10, 8, 8, 1}, 9);
  std::copy_n(p.keys.begin(), 8, p.keys.begin() + 72);
  std::copy_n(p.values.begin(), 8, p.values.begin() + 72);
  Selection once;
  once.add(0, std::log(2.0));
  for (Position i = 1; i < 9; ++i) once.add(i);
  State state = attend(once, p.query(), p.kv());
  EXPECT_TRUE(agrees_with_dense(state.view(), p, p.query()));
}

// Scaling all values by a power of two scales the output, bit for bit.
TEST(LogitRule, OutputIsLinearInTheValues) {
  auto p = random_problem<float>({333, 24, 24, 2}, 10);
  const State plain = attend(Dense{}, p.query(), p.kv());
  for (float& v : p.values) v *= -0x1p20f;
  State scaled = attend(Dense{}, p.query(), p.kv());
  for (std::size_t c = 0; c < 48; ++c) EXPECT_EQ(scaled.out()[c], -0x1p20f * plain.out()[c]);
  EXPECT_EQ(scaled.lse(0), plain.lse(0));
  EXPECT_EQ(scaled.lse(1), plain.lse(1));
}

}  // namespace
}  // namespace skim::test
