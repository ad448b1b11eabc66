// SPDX-License-Identifier: Apache-2.0
// Who judges the judges? The reference against numbers by hand, the comparison against results that are wrong.
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "support/close.h"
#include "support/guarded.h"
#include "support/problem.h"

namespace skim::test {
namespace {

// Logits 0, ln 2 and ln 5 with weights 1, 1 and 3: shares of 1, 2 and 15 eighteenths.
TEST(Judges, TheReferenceByHand) {
  const std::vector<double> s = {0, std::log(2.0), 7, std::log(5.0)};
  const Matrix values{4, 2, {18, 1, 36, -1, 1e9, 1e9, 0, 2}};
  const std::vector<Weighted> list = {{0, 1}, {1, 1}, {3, 3}};
  ReferenceState state = reference_attention(s, values, list);
  EXPECT_NEAR(state.lse, std::log(18.0), 1e-15);
  EXPECT_NEAR(state.out[0], 5, 1e-15);
  EXPECT_NEAR(state.out[1], 29.0 / 18, 1e-15);
  EXPECT_NEAR(state.out_magnitude[1], 33.0 / 18, 1e-15);
  add_sink(state, std::log(18.0));
  EXPECT_NEAR(state.out[0], 2.5, 1e-15);
  EXPECT_NEAR(state.lse, std::log(36.0), 1e-15);
}

TEST(Judges, TheReferenceOfALogitByHand) {
  const Matrix keys{2, 2, {1, 2, 3, 4}};
  ReferenceQuery q{{0.5, -1}, 2, 0, 0, 5};
  EXPECT_EQ(reference_logit(q, keys, 1), -5);
  q.soft_cap = 10;
  EXPECT_EQ(reference_logit(q, keys, 1), 10 * std::tanh(-0.5));
  q.alibi_slope = 0.25;
  EXPECT_EQ(reference_logit(q, keys, 1), 10 * std::tanh(-0.5) - 1);
  q.position = 0;
  EXPECT_EQ(reference_logit(q, keys, 1), 10 * std::tanh(-0.5) - 0.25);
}

TEST(Judges, TheReferenceAtTheEdges) {
  const Matrix values{3, 1, {1, 2, 3}};
  EXPECT_EQ(reference_attention({0, 0, 0}, values, {}).lse, -kInf);
  EXPECT_EQ(reference_attention({0, 0, 0}, values, {}).out[0], 0);
  EXPECT_EQ(reference_attention({-kInf, -kInf, 0}, values, everything(0, 2)).lse, -kInf);
  EXPECT_EQ(reference_attention({-kInf, -kInf, 0}, values, everything(0, 2)).out[0], 0);
  EXPECT_EQ(reference_attention({1, kInf, 0}, values, everything(0, 3)).out[0], 2);
  EXPECT_TRUE(std::isnan(reference_attention({kInf, kInf, 0}, values, everything(0, 3)).out[0]));
  EXPECT_TRUE(std::isnan(reference_attention({0, kNan, 0}, values, everything(0, 3)).out[0]));
  EXPECT_EQ(reference_attention({1e30, 1e30, -1e30}, values, everything(0, 3)).out[0], 1.5);
  EXPECT_EQ(reference_attention({-1e30, -1e30, -1e30}, values, everything(0, 3)).out[0], 2);
}

TEST(Judges, NanAndInfinityAgreeWithThemselvesOnly) {
  EXPECT_TRUE(is_close(kNan, kNan, 1));
  EXPECT_FALSE(is_close(kNan, 0, kInf));
  EXPECT_FALSE(is_close(0, kNan, kInf));
  EXPECT_TRUE(is_close(kInf, kInf, 1));
  EXPECT_FALSE(is_close(kInf, -kInf, kInf));
  EXPECT_FALSE(is_close(kInf, 1e300, kInf));
  EXPECT_FALSE(is_close(-1e300, -kInf, kInf));
  EXPECT_FALSE(is_close(1, 2, kNan));
  EXPECT_TRUE(is_close(1, 1.5, 0.5));
  EXPECT_FALSE(is_close(1, 1.5, 0.499));
}

TEST(Judges, FencesFall) {
  Guarded<float> memory(3);
  EXPECT_TRUE(memory.untouched() && memory.fences_stand());
  EXPECT_FALSE(memory.all_written());
  for (int i = 0; i < 3; ++i) memory.data()[i] = NAN;
  EXPECT_TRUE(memory.all_written());
  EXPECT_FALSE(memory.untouched());
  memory.data()[3] = 0;
  EXPECT_FALSE(memory.fences_stand());
  Guarded<float> before(3);
  before.data()[-1] = NAN;
  EXPECT_FALSE(before.fences_stand());
}

TEST(Judges, SameBitsKnowsTheSignOfZero) {
  const float zero = 0, minus = -0.0f, nan = NAN, other = -NAN;
  EXPECT_FALSE(same_bits(&zero, &minus, 1));
  EXPECT_TRUE(same_bits(&nan, &other, 1));
  EXPECT_FALSE(same_bits(&nan, &zero, 1));
  const double one = 1, next = std::nextafter(1.0, 2.0);
  EXPECT_FALSE(same_bits(&one, &next, 1));
}

/// Attention in float with the faults that the bound must not let through.
struct PlainFloat {
  std::size_t block = 64;     // keys summed on their own before they are added
  float exp_error = 0;        // relative
  bool base_2 = false;        // lse in base 2
  std::size_t dropped = 0;    // keys not read
  bool no_rescale = false;    // the first block keeps its maximum

  State operator()(const Problem<float>& p) const {
    const float scale = 1 / std::sqrt(static_cast<float>(p.shape.d));
    float max = -INFINITY, sum = 0;
    std::vector<float> numerator(p.shape.d_v, 0);
    for (std::size_t at = 0; at < p.shape.n - dropped; at += block) {
      const std::size_t end = std::min(at + block, p.shape.n - dropped);
      std::vector<float> s;
      for (std::size_t i = at; i < end; ++i) {
        float dot = 0;
        for (std::size_t c = 0; c < p.shape.d; ++c) dot += p.q[c] * p.keys[i * p.shape.d + c];
        s.push_back(dot * scale);
      }
      float top = max;
      for (const float x : s) top = std::max(top, x);
      const float keep = no_rescale && at > 0 ? 1.0f : std::exp(max - top);
      max = top;
      float part = 0;
      std::vector<float> weighted(p.shape.d_v, 0);
      for (std::size_t i = at; i < end; ++i) {
        const float w = std::exp(s[i - at] - max) * (1 + (i % 2 == 0 ? exp_error : 0.0f));
        part += w;
        for (std::size_t c = 0; c < p.shape.d_v; ++c) weighted[c] += w * p.values[i * p.shape.d_v + c];
      }
      sum = sum * keep + part;
      for (std::size_t c = 0; c < p.shape.d_v; ++c) numerator[c] = numerator[c] * keep + weighted[c];
    }
    State state(1, p.shape.d_v);
    for (std::size_t c = 0; c < p.shape.d_v; ++c) state.out()[c] = numerator[c] / sum;
    state.view().lse_of(0) = base_2 ? max + std::log2(sum) : max + std::log(sum);
    return state;
  }
};

bool passes(const Problem<float>& p, const PlainFloat& plain) {
  State state = plain(p);
  return static_cast<bool>(agrees_with_dense(state.view(), p, p.query()));
}

TEST(Judges, PlainFloatInBlocksIsCloseEnough) {
  for (const std::size_t n : {1u, 64u, 1000u, 65536u}) {
    for (const std::size_t d : {8u, 64u, 128u}) {
      EXPECT_TRUE(passes(random_problem<float>({n, d, 16, 1}, n + d, 0.3), {})) << n << " keys, d " << d;
      EXPECT_TRUE(passes(random_problem<float>({n, d, 16, 1}, n + d, 6), {})) << n << " keys, d " << d;
    }
  }
}

TEST(Judges, WrongResultsAreNotCloseEnough) {
  const auto p = random_problem<float>({1000, 64, 16, 1}, 1);
  EXPECT_FALSE(passes(p, {.exp_error = 1e-4f}));
  EXPECT_FALSE(passes(p, {.base_2 = true}));
  EXPECT_FALSE(passes(p, {.dropped = 1}));
  EXPECT_FALSE(passes(p, {.no_rescale = true}));
  State nan = PlainFloat{}(p);
  nan.out()[3] = NAN;
  EXPECT_FALSE(agrees_with_dense(nan.view(), p, p.query()));
}

// A long tail of equal weights, 21/64 + 2^-15 of the largest: 64 of them are 21 + 2^-9, which a sum of thousands still
// holds; of one alone it drops the 2^-15.
TEST(Judges, OneRunningSumIsNotCloseEnough) {
  auto p = random_problem<float>({65536, 8, 16, 1}, 2);
  std::fill(p.q.begin(), p.q.end(), 0.0f);
  p.q[0] = 1;
  const double tail = std::log(21.0 / 64 + 0x1p-15);
  for (std::size_t i = 0; i < p.shape.n; ++i) {
    p.keys[i * 8] = i == 0 ? 0.0f : static_cast<float>(std::sqrt(8.0) * tail);
  }
  EXPECT_TRUE(passes(p, {.block = 64}));
  EXPECT_FALSE(passes(p, {.block = 1}));
}

}  // namespace
}  // namespace skim::test
