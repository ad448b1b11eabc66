// SPDX-License-Identifier: Apache-2.0
// Logits: right, the same bits wherever they are computed, and computed once.
#include "skim/kernel/score-inl.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "support/layouts.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

using test::Problem;
using test::RealOf;

/// Dot products of every head with the keys at `positions` (at most kBlock), [g][positions].
template <class K>
std::vector<std::vector<RealOf<K>>> dots_of(const Problem<K>& p, std::size_t first_head,
                                            std::size_t heads,
                                            const std::vector<std::size_t>& positions, bool ahead) {
  Workspace ws;
  BasicQuery<RealOf<K>> q = p.query();
  q.rows = {q.rows.row(first_head), heads, q.rows.cols};
  const K* keys[kBlock];
  for (std::size_t t = 0; t < kBlock; ++t) {
    keys[t] = test::row_at(p.keys, positions[std::min(t, positions.size() - 1)], p.shape.d);
  }
  Buffer<RealOf<K>> out;
  out.resize(heads * kBlock);
  const K* const* nothing = nullptr;
  dots(lane_query<K>(q, ws), keys, positions.size(), ahead ? keys : nothing, out.data());
  std::vector<std::vector<RealOf<K>>> result;
  for (std::size_t h = 0; h < heads; ++h) {
    result.emplace_back(out.data() + h * kBlock, out.data() + h * kBlock + positions.size());
  }
  return result;
}

const std::vector<std::size_t> kDims = {1,  2,  3,  7,  8,   15,  16,  17,  31,  32,
                                        33, 46, 64, 80, 127, 128, 129, 192, 256, 512};

template <class K>
class DotsOf : public testing::Test {};
using AllStorage = testing::Types<float, F16, BF16, I8, double>;
TYPED_TEST_SUITE(DotsOf, AllStorage);

// Against a plain sum in double (long double for double), for every group size and row length.
TYPED_TEST(DotsOf, AreDotProducts) {
  using Real = RealOf<TypeParam>;
  const double epsilon = test::Arithmetic<Real>::kEpsilon;
  std::vector<std::size_t> positions(11);
  std::iota(positions.begin(), positions.end(), std::size_t{0});
  for (const std::size_t d : kDims) {
    for (std::size_t heads = 1; heads <= 9; ++heads) {
      const auto p = test::random_problem<TypeParam>({11, d, 1, heads}, 100 * d + heads);
      const auto dots = dots_of(p, 0, heads, positions, false);
      const test::Matrix keys = test::numbers_of(p.keys, 11, d);
      for (std::size_t h = 0; h < heads; ++h) {
        std::vector<double> q(p.q.data() + h * d, p.q.data() + (h + 1) * d);
        if (kHasScale<TypeParam>) test::round_row(q);
        for (std::size_t i = 0; i < 11; ++i) {
          long double sum = 0, magnitude = 0;
          for (std::size_t c = 0; c < d; ++c) {
            const long double product = static_cast<long double>(q[c]) * keys(i, c);
            sum += product;
            magnitude += std::abs(product);
          }
          const double bound =
              2 * (std::sqrt(static_cast<double>(d)) + 2) * epsilon * static_cast<double>(magnitude);
          ASSERT_LE(std::abs(static_cast<double>(dots[h][i] - sum)), bound)
              << "d " << d << ", head " << h << " of " << heads << ", key " << i;
        }
      }
    }
  }
}

// Law 8: the bits of <q, k> depend on q and k alone. A group of one with a single key is the yardstick.
TYPED_TEST(DotsOf, BitsAreCanonical) {
  std::mt19937 random(3);
  for (const std::size_t d : kDims) {
    constexpr std::size_t kKeys = 40, kHeads = 9;
    const auto p = test::random_problem<TypeParam>({kKeys, d, 1, kHeads}, d);
    std::vector<std::vector<RealOf<TypeParam>>> alone(kHeads);
    for (std::size_t h = 0; h < kHeads; ++h) {
      for (std::size_t i = 0; i < kKeys; ++i) alone[h].push_back(dots_of(p, h, 1, {i}, false)[0][0]);
    }
    for (std::size_t heads = 1; heads <= kHeads; ++heads) {
      std::vector<std::size_t> positions(kBlock);
      for (std::size_t& i : positions) i = random() % kKeys;
      positions.resize(1 + random() % kBlock);
      const std::size_t first = random() % (kHeads - heads + 1);
      const auto dots = dots_of(p, first, heads, positions, heads % 2 == 0);
      for (std::size_t h = 0; h < heads; ++h) {
        for (std::size_t t = 0; t < positions.size(); ++t) {
          ASSERT_EQ(std::memcmp(&dots[h][t], &alone[first + h][positions[t]], sizeof(dots[h][t])), 0)
              << "d " << d << ", head " << h << " of " << heads << ", key " << t << " of "
              << positions.size();
        }
      }
    }
  }
}

// One tail, one step, one sum: a product that is left out or counted twice shows at once.
TYPED_TEST(DotsOf, CountsEveryColumnOnce) {
  for (const std::size_t d : kDims) {
    Problem<TypeParam> p;
    p.shape = {1, d, 1, 1};
    p.keys.resize(row_values<TypeParam>(d));
    const double number = kHasScale<TypeParam> ? 127 : 1;  // of a quantised row the scale is 1
    test::fill_row(p.keys.data(), d, number);
    p.values.resize(row_values<TypeParam>(1));
    for (std::size_t c = 0; c < d; ++c) p.q.push_back(static_cast<RealOf<TypeParam>>(c * c + 1));
    if constexpr (kHasScale<TypeParam>) {
      if (p.q.back() > 32767) continue;  // a step of 1 for whole numbers
      p.q[0] = 32767;
    }
    const double expected = number * std::accumulate(p.q.begin(), p.q.end(), 0.0);
    if (expected > 0x1p24) continue;  // float has no room for exact sums
    EXPECT_EQ(dots_of(p, 0, 1, {0}, false)[0][0], expected) << d;
  }
}

// ---- the logit rule ----

template <class Real>
class RuleOf : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(RuleOf, Reals);

TYPED_TEST(RuleOf, ScaleCapAndSlopes) {
  constexpr std::size_t kHeads = 3;
  const float slopes[kHeads] = {0.5f, 0.0f, 0.0078125f};
  const double epsilon = test::Arithmetic<TypeParam>::kEpsilon;
  for (const double scale : {1.0, 0.125, -0.3}) {
    for (const double cap : {0.0, 1.0, 30.0, 50.0}) {
      for (const bool alibi : {false, true}) {
        BasicQuery<TypeParam> q;
        q.rows = {nullptr, kHeads, 4};
        q.position = 1000;
        q.logit = {.scale = scale, .soft_cap = cap, .alibi_slopes = alibi ? slopes : nullptr};
        Buffer<TypeParam> s;
        s.resize(kHeads * kBlock);
        Position positions[kBlock];
        for (std::size_t t = 0; t < kBlock; ++t) {
          positions[t] = static_cast<Position>(t * 97);  // before and behind the query
          for (std::size_t h = 0; h < kHeads; ++h)
            s[h * kBlock + t] = static_cast<TypeParam>(t * t) - TypeParam(100) * TypeParam(h);
        }
        const Buffer<TypeParam> dots = s;
        apply_rule(q, positions, s.data());
        for (std::size_t h = 0; h < kHeads; ++h) {
          for (std::size_t t = 0; t < kBlock; ++t) {
            double x = scale * dots[h * kBlock + t];
            double bound = 2 * epsilon * std::abs(x);
            if (cap > 0) {
              x = cap * std::tanh(x / cap);
              bound += cap * test::Arithmetic<TypeParam>::kTanh + 2 * epsilon * std::abs(x);
            }
            if (alibi) {
              const double bias = slopes[h] * std::abs(1000.0 - static_cast<double>(positions[t]));
              x -= bias;
              bound += 2 * epsilon * (bias + std::abs(x));
            }
            ASSERT_NEAR(s[h * kBlock + t], x, bound)
                << "scale " << scale << " cap " << cap << " head " << h << " key " << t;
          }
        }
      }
    }
  }
}

TYPED_TEST(RuleOf, CapHoldsInfinityAndLetsNanThrough) {
  BasicQuery<TypeParam> q;
  q.rows = {nullptr, 1, 4};
  q.position = 0;
  q.logit = {.scale = 1.0, .soft_cap = 30};
  Buffer<TypeParam> s;
  s.resize(kBlock);
  std::fill(s.begin(), s.end(), TypeParam{0});
  s[0] = kInfinity<TypeParam>;
  s[1] = -kInfinity<TypeParam>;
  s[2] = std::numeric_limits<TypeParam>::quiet_NaN();
  const Position positions[kBlock] = {};
  apply_rule(q, positions, s.data());
  EXPECT_EQ(s[0], 30);
  EXPECT_EQ(s[1], -30);
  EXPECT_TRUE(std::isnan(s[2]));
  EXPECT_EQ(s[3], 0);
}

// ---- the logits of a visible range ----

// With a plain rule and with everything a rule can have.
TEST(LogitsOf, AreTheSameBitsForEveryRangeGroupAndLayout) {
  constexpr std::size_t kKeys = 150, kHeads = 5;
  const float slopes[kHeads] = {0.5f, 0.3f, 0.1f, 0.07f, 0.01f};
  const auto p = test::random_problem<BF16>({kKeys, 46, 3, kHeads}, 9);
  for (const LogitRule& rule :
       {LogitRule{}, LogitRule{.scale = 0.3, .soft_cap = 2.5, .alibi_slopes = slopes}}) {
    Query q = p.query();
    q.position = 100;  // distances on both sides
    q.causal = false;
    q.logit = rule;
    Workspace whole_ws;
    const Query whole = q.resolved(kKeys);
    const auto expected = logits(whole, p.kv(), whole_ws);
    ASSERT_EQ(expected.first, 0);

    const auto expect_same = [&](const Query& part, const auto& kv, std::size_t first_head) {
      Workspace ws;
      const Query resolved = part.resolved(kKeys);
      const auto s = logits(resolved, kv, ws);
      ASSERT_EQ(s.first, resolved.visible.first);
      for (std::size_t h = 0; h < part.heads(); ++h) {
        ASSERT_TRUE(test::same_bits(s.of_head(h),
                                    expected.of_head(first_head + h) + resolved.visible.first,
                                    static_cast<std::size_t>(resolved.visible.size())));
      }
    };
    for (const Span visible :
         {Span{0, 150}, Span{1, 150}, Span{15, 16}, Span{16, 33}, Span{149, 150}, Span{3, 100}}) {
      q.visible = visible;
      expect_same(q, p.kv(), 0);
      expect_same(q.head(4), p.kv(), 4);
      const test::Strided strided(p, 5, 1);
      expect_same(q, strided.kv(), 0);
      const test::InPages paged(p, 7, test::Adjacency::kAdjacent);
      expect_same(q, paged.kv(), 0);
    }
  }
}

TEST(LogitsOf, AreWithinTheBoundOfTheReference) {
  constexpr std::size_t kKeys = 37;
  const float slopes[] = {0.25f, 0.0625f};
  const auto p = test::random_problem<float>({kKeys, 33, 1, 2}, 4, 6.0);
  Query q = p.query().resolved(kKeys);
  q.logit.soft_cap = 20;
  q.logit.alibi_slopes = slopes;
  Workspace ws;
  const auto s = logits(q, p.kv(), ws);
  const auto keys = test::numbers_of(p.keys, kKeys, 33);
  for (std::size_t h = 0; h < 2; ++h) {
    const auto row = test::reference_query(q, h, kKeys);
    const auto exact = test::reference_logits(row, keys);
    for (std::size_t i = 0; i < kKeys; ++i) {
      double magnitude = 0;
      for (std::size_t c = 0; c < 33; ++c) magnitude += std::abs(row.row[c] * keys(i, c));
      const double distance = static_cast<double>(kKeys - 1 - i);
      const double bound = 2 * (std::sqrt(33.0) + 2) * 0x1p-24 * row.scale * magnitude + 20 * 2e-7 +
                           4 * 0x1p-24 * (slopes[h] * distance + std::abs(exact[i]));
      ASSERT_NEAR(s.of_head(h)[i], exact[i], bound) << "head " << h << " key " << i;
    }
  }
}

// Once a query that is being asked: the second call finds what the first one left, keys are not read again.
TEST(LogitsOf, AreComputedOnce) {
  auto p = test::random_problem<float>({20, 8, 1, 1}, 5);
  const Query q = p.query().resolved(20);
  const auto kv = p.kv();
  Workspace ws;
  std::vector<float> before;
  {
    const HWY_NAMESPACE::Asking asking(q, kv, ws);
    const auto first = logits(q, kv, ws);
    EXPECT_EQ(ws.asked.logits, first.data);
    before.assign(first.data, first.data + 20);
    for (float& x : p.keys) x = 1e6f;
    const auto second = logits(q, kv, ws);
    EXPECT_EQ(second.data, first.data);
    EXPECT_TRUE(test::same_bits(second.data, before.data(), 20));
    EXPECT_THROW(HWY_NAMESPACE::Asking(q, kv, ws), std::invalid_argument);
    const Query copy = q;  // of which nothing is known
    EXPECT_NE(logits(copy, kv, ws).data[0], before[0]);
    EXPECT_EQ(ws.asked.logits, nullptr) << "they lay where those of the copy are now";
  }
  const auto third = logits(q, kv, ws);
  EXPECT_NE(third.data[0], before[0]);
  EXPECT_EQ(ws.asked.logits, nullptr);
}

TEST(LogitsOf, NothingVisible) {
  const auto p = test::random_problem<float>({20, 8, 1, 2}, 5);
  Query q = p.query();
  q.visible = {7, 7};
  Workspace ws;
  const auto s = logits(q.resolved(20), p.kv(), ws);
  EXPECT_EQ(s.stride, 0u);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
