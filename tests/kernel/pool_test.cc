// SPDX-License-Identifier: Apache-2.0
// How the heads of a group agree on one score a position: the largest logit for sets, the mean
// probability for samplers, over what is left.
#include "skim/kernel/pool-inl.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "support/close.h"
#include "support/problem.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

constexpr double kNoScore = -std::numeric_limits<double>::infinity();

/// Logits of `heads` heads over positions [first, first + n), and a selection that holds some of them.
template <class Real>
struct Scene {
  std::size_t heads, n;
  Position first = 5;
  std::vector<Real> s{};
  Selection selection{};
  std::vector<std::size_t> left{};  // indices into a head's row of what is not selected

  Scene(std::size_t heads_, std::size_t n_, unsigned seed, double spread = 3) : heads(heads_), n(n_) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    s.resize(heads * stride());
    for (Real& x : s) x = static_cast<Real>(spread * normal(random));
    // Selected: a span at the start, one in the middle, every ninth position.
    const auto span_at = [&](std::size_t i) { return i < 3 || (i >= 40 && i < 47); };
    for (const Span span : {Span{first, first + 3}, Span{first + 40, first + 47}}) {
      selection.add(intersect(span, visible()));
    }
    for (std::size_t i = 0; i < n; ++i) {
      if (span_at(i)) continue;
      if (i % 9 == 4) {
        selection.add(first + static_cast<Position>(i));
      } else {
        left.push_back(i);
      }
    }
    commit(selection);
  }

  std::size_t stride() const { return round_up(n, 16); }
  Span visible() const { return {first, first + static_cast<Position>(n)}; }
  Real& at(std::size_t h, std::size_t i) { return s[h * stride() + i]; }
  double at(std::size_t h, std::size_t i) const { return s[h * stride() + i]; }
  Logits<Real> logits_view() const { return {s.data(), stride(), first}; }

  /// NaN counts as -inf.
  double counted(std::size_t h, std::size_t i) const { return std::isnan(at(h, i)) ? kNoScore : at(h, i); }

  double largest_logit(std::size_t i) const {
    double top = kNoScore;
    for (std::size_t h = 0; h < heads; ++h) top = std::max(top, counted(h, i));
    return top;
  }

  /// ln of the mean over heads of softmax over what is left.
  std::vector<double> log_mean_probability() const {
    std::vector<double> mean(left.size());
    for (std::size_t h = 0; h < heads; ++h) {
      double top = kNoScore, sum = 0;
      for (const std::size_t i : left) top = std::max(top, counted(h, i));
      if (top == kNoScore) continue;
      for (const std::size_t i : left) sum += std::exp(counted(h, i) - top);
      for (std::size_t j = 0; j < left.size(); ++j)
        mean[j] += std::exp(counted(h, left[j]) - top) / sum;
    }
    for (double& m : mean) m = std::log(m / static_cast<double>(heads));
    return mean;
  }
};

template <class Real>
class Pool : public ::testing::Test {};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Pool, Reals);

TYPED_TEST(Pool, MaxIsTheLargestLogitOfAnyHead) {
  Workspace ws;
  for (const std::size_t n : {1u, 4u, 16u, 17u, 63u, 100u, 333u}) {
    for (std::size_t heads = 1; heads <= 8; ++heads) {
      const Scene<TypeParam> scene(heads, n, static_cast<unsigned>(n + heads));
      const auto pooled = pool_max(scene.logits_view(), heads, scene.selection, scene.visible(), ws);
      ASSERT_EQ(pooled.count, scene.left.size());
      for (std::size_t j = 0; j < pooled.count; ++j) {
        ASSERT_EQ(pooled.scores[j], scene.largest_logit(scene.left[j]))
            << "n " << n << " heads " << heads;
      }
    }
  }
}

/// The error of ln p: that of the logits' own size, of exp and of the sums.
template <class Real>
void expect_shares(const Scene<Real>& scene, Workspace& ws) {
  const auto pooled =
      pool_log_share(scene.logits_view(), scene.heads, scene.selection, scene.visible(), ws);
  const std::vector<double> expected = scene.log_mean_probability();
  ASSERT_EQ(pooled.count, expected.size());
  double largest = 1;
  for (std::size_t h = 0; h < scene.heads; ++h) {
    for (std::size_t i = 0; i < scene.n; ++i) {
      if (std::isfinite(scene.at(h, i))) largest = std::max(largest, std::abs(scene.at(h, i)));
    }
  }
  const double bound =
      8 * test::Arithmetic<Real>::kEpsilon * largest + 4 * test::Arithmetic<Real>::kExp;
  double total = 0;
  for (std::size_t j = 0; j < pooled.count; ++j) {
    if (expected[j] == kNoScore) {
      ASSERT_EQ(pooled.scores[j], -kInfinity<Real>) << j;
    } else {
      ASSERT_NEAR(pooled.scores[j], expected[j], bound) << "position " << j << " of " << pooled.count;
    }
    total += std::exp(static_cast<double>(pooled.scores[j]));
  }
  double heads_with_mass = 0;
  for (std::size_t h = 0; h < scene.heads; ++h) {
    heads_with_mass += std::any_of(scene.left.begin(), scene.left.end(),
                                   [&](std::size_t i) { return scene.counted(h, i) > kNoScore; });
  }
  EXPECT_NEAR(total, heads_with_mass / static_cast<double>(scene.heads), 2 * bound) << "a distribution";
}

TYPED_TEST(Pool, ShareIsTheMeanProbability) {
  Workspace ws;
  for (const std::size_t n : {1u, 4u, 17u, 63u, 100u, 333u, 5000u}) {
    for (const std::size_t heads : {2u, 3u, 4u, 7u, 8u}) {
      if (Scene<TypeParam>(heads, n, 1).left.empty()) continue;
      for (const double spread : {0.5, 3.0, 30.0}) {
        expect_shares(Scene<TypeParam>(heads, n, static_cast<unsigned>(n), spread), ws);
        if (::testing::Test::HasFailure())
          FAIL() << "n " << n << " heads " << heads << " spread " << spread;
      }
    }
  }
}

// Logits of the heads on quite different levels: each head's probabilities count the same.
TYPED_TEST(Pool, ShareDoesNotFavourLoudHeads) {
  Scene<TypeParam> scene(2, 100, 3, 1.0);
  for (std::size_t i = 0; i < 100; ++i) scene.at(1, i) += TypeParam{500};
  Workspace ws;
  expect_shares(scene, ws);
}

TYPED_TEST(Pool, OneHeadIsItsLogits) {
  Workspace ws;
  const Scene<TypeParam> scene(1, 60, 2);
  const auto pooled = pool_log_share(scene.logits_view(), 1, scene.selection, scene.visible(), ws);
  for (std::size_t j = 0; j < pooled.count; ++j)
    EXPECT_EQ(pooled.scores[j], scene.at(0, scene.left[j]));
}

// NaN in one head: that head has no opinion there, the others do. NaN in all: last in every order.
TYPED_TEST(Pool, NanCountsAsMinusInfinity) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  for (const std::size_t heads : {1u, 3u}) {
    Scene<TypeParam> scene(heads, 200, 4);
    for (std::size_t i = 0; i < 200; i += 7) scene.at(i % heads, i) = nan;
    for (std::size_t h = 0; h < heads; ++h) {
      scene.at(h, 11) = nan;
      scene.at(h, 199) = h % 2 == 0 ? nan : -kInfinity<TypeParam>;
    }
    Workspace ws;
    const auto pooled = pool_max(scene.logits_view(), heads, scene.selection, scene.visible(), ws);
    for (std::size_t j = 0; j < pooled.count; ++j)
      ASSERT_EQ(pooled.scores[j], scene.largest_logit(scene.left[j])) << j;
    if (heads > 1) expect_shares(scene, ws);
  }
}

// A head without any probability: the others decide, and nothing becomes NaN.
TYPED_TEST(Pool, HeadsWithoutMass) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  for (const TypeParam nothing : {nan, -kInfinity<TypeParam>}) {
    Scene<TypeParam> scene(3, 100, 5);
    for (std::size_t i = 0; i < 100; ++i) scene.at(1, i) = nothing;
    Workspace ws;
    expect_shares(scene, ws);
    for (std::size_t i = 0; i < 100; ++i) scene.at(0, i) = scene.at(2, i) = nothing;
    const auto pooled = pool_log_share(scene.logits_view(), 3, scene.selection, scene.visible(), ws);
    for (std::size_t j = 0; j < pooled.count; ++j) ASSERT_EQ(pooled.scores[j], -kInfinity<TypeParam>);
  }
}

// One logit of +inf is a probability of 1 in its head.
TYPED_TEST(Pool, InfiniteLogit) {
  Scene<TypeParam> scene(2, 50, 6);
  scene.at(0, scene.left[20]) = kInfinity<TypeParam>;
  Workspace ws;
  const auto pooled = pool_log_share(scene.logits_view(), 2, scene.selection, scene.visible(), ws);
  EXPECT_GE(pooled.scores[20], std::log(0.5) - 1e-6);
  double others = 0;
  for (std::size_t j = 0; j < pooled.count; ++j) {
    ASSERT_FALSE(std::isnan(pooled.scores[j])) << j;
    if (j != 20) others += std::exp(static_cast<double>(pooled.scores[j]));
  }
  EXPECT_LE(others, 0.5 + 1e-6);
}

// ---- the logarithm of a sum, in pieces ----

TYPED_TEST(Pool, LogSumDoesNotDependOnHowItIsCutBeyondRounding) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  std::vector<TypeParam> s(20000);
  for (TypeParam& x : s) x = static_cast<TypeParam>(4 * normal(random));
  long double sum = 0;
  for (const TypeParam x : s) sum += std::exp(static_cast<long double>(x));
  const auto expected = static_cast<double>(std::log(sum));
  for (const std::size_t piece : {1u, 7u, 16u, 1000u, 20000u}) {
    LogSum<TypeParam> total;
    for (std::size_t i = 0; i < s.size(); i += piece)
      total.add(s.data() + i, std::min(piece, s.size() - i));
    EXPECT_NEAR(
        total.log(), expected,
        test::Arithmetic<TypeParam>::kExp + 16 * test::Arithmetic<TypeParam>::kEpsilon * expected)
        << piece;
  }
}

TYPED_TEST(Pool, LogSumOfNothing) {
  LogSum<TypeParam> total;
  EXPECT_EQ(total.log(), -kInfinity<TypeParam>);
  const std::vector<TypeParam> none(40, -kInfinity<TypeParam>),
      nans(40, std::numeric_limits<TypeParam>::quiet_NaN());
  total.add(none.data(), none.size());
  total.add(nans.data(), nans.size());
  EXPECT_EQ(total.log(), -kInfinity<TypeParam>);
  const TypeParam one = -1000;
  total.add(&one, 1);
  EXPECT_EQ(total.log(), -1000);
}

TYPED_TEST(Pool, LogSumWithInfinities) {
  LogSum<TypeParam> total;
  const std::vector<TypeParam> s{1, kInfinity<TypeParam>, 2, -kInfinity<TypeParam>};
  total.add(s.data(), s.size());
  EXPECT_EQ(total.log(), kInfinity<TypeParam>);
  total.add(s.data(), 1);
  EXPECT_EQ(total.log(), kInfinity<TypeParam>);
}

// A list that is scored on its own: the values are those of all logits, and logits that are known stay so.
TEST(PoolMaxOf, AListWithAndWithoutKnownLogits) {
  const auto p = test::random_problem<float>({500, 20, 4, 3}, 1);
  const Query q = p.query().resolved(500);
  Selection selection;
  selection.add(Span{40, 90});
  const std::vector<Position> list = {0, 7, 39, 40, 89, 90, 91, 123, 400, 499};
  const std::vector<Position> left = {0, 7, 39, 90, 91, 123, 400, 499};
  const auto kv = p.kv();
  Workspace ws, other;
  const Asking asking(q, kv, other);
  const Logits<float> all = logits(q, kv, other);
  const std::vector<float> before(all.data, all.data + 3 * all.stride);
  for (Workspace* of : {&ws, &other}) {
    const std::uint64_t read = of->reads.keys;
    const Pooled<float> x = pool_max_of(std::span<const Position>(list), q, kv, selection, *of);
    ASSERT_EQ(x.count, left.size());
    for (std::size_t j = 0; j < left.size(); ++j) {
      EXPECT_EQ(x.positions[j], left[j]);
      float largest = -kInfinity<float>;
      for (std::size_t h = 0; h < 3; ++h) largest = std::max(largest, all.of_head(h)[left[j]]);
      EXPECT_EQ(x.scores[j], largest);
    }
    EXPECT_EQ(of->reads.keys - read, of == &ws ? left.size() : 0u);
  }
  EXPECT_EQ(std::memcmp(all.data, before.data(), before.size() * sizeof(float)), 0);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
