// SPDX-License-Identifier: Apache-2.0
// Is the merge of two states attention over both their sets: neutral, commutative, associative?
#include <algorithm>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

template <class Real>
struct Merge : testing::Test {
  static constexpr std::size_t kColumns = 37;

  /// Random states; lse of very different sizes, equal ones among them.
  static BasicState<Real> random_state(std::mt19937& generator) {
    std::normal_distribution<double> normal;
    BasicState<Real> state(3, kColumns);
    for (std::size_t i = 0; i < 3 * kColumns; ++i) state.out()[i] = static_cast<Real>(normal(generator));
    constexpr double kLse[] = {0, 0, 1, -3.7, 20, 100, -1e6, 1e30};
    for (std::size_t h = 0; h < 3; ++h) {
      state.view().lse_of(h) = static_cast<Real>(kLse[generator() % 8] + (generator() % 2 == 0 ? 0 : normal(generator)));
    }
    return state;
  }
  static BasicState<Real> empty_state() {
    BasicState<Real> state(3, kColumns);
    std::fill_n(state.out(), 3 * kColumns, Real{0});
    std::fill_n(state.view().lse, 3, -std::numeric_limits<Real>::infinity());
    return state;
  }
  static BasicState<Real> merged(BasicState<Real> a, BasicState<Real> b) {
    merge(a.view(), b.view());
    return a;
  }
  /// Signs of zero included.
  static bool identical(BasicState<Real> a, BasicState<Real> b) {
    return std::memcmp(a.out(), b.out(), 3 * kColumns * sizeof(Real)) == 0 &&
           std::memcmp(a.view().lse, b.view().lse, 3 * sizeof(Real)) == 0;
  }
};
using Arithmetics = testing::Types<float, double>;
TYPED_TEST_SUITE(Merge, Arithmetics);

TYPED_TEST(Merge, TheEmptyStateIsNeutral) {
  std::mt19937 generator(1);
  for (int i = 0; i < 100; ++i) {
    auto state = this->random_state(generator);
    state.out()[5] = static_cast<TypeParam>(-0.0);  // 0 * 0 + -0 would be +0
    EXPECT_TRUE(this->identical(this->merged(state, this->empty_state()), state));
    EXPECT_TRUE(this->identical(this->merged(this->empty_state(), state), state));
  }
  EXPECT_TRUE(this->identical(this->merged(this->empty_state(), this->empty_state()), this->empty_state()));
}

TYPED_TEST(Merge, IsCommutative) {
  std::mt19937 generator(2);
  for (int i = 0; i < 1000; ++i) {
    const auto a = this->random_state(generator), b = this->random_state(generator);
    EXPECT_TRUE(this->identical(this->merged(a, b), this->merged(b, a)));
  }
}

TYPED_TEST(Merge, IsAssociativeToRounding) {
  std::mt19937 generator(3);
  constexpr double kEps = Arithmetic<TypeParam>::kEpsilon;
  for (int i = 0; i < 1000; ++i) {
    const auto a = this->random_state(generator), b = this->random_state(generator), c = this->random_state(generator);
    auto left = this->merged(this->merged(a, b), c), right = this->merged(a, this->merged(b, c));
    for (std::size_t h = 0; h < 3; ++h) {
      // An lse in between is rounded to its size: that is an error of the weights.
      const double lse = std::max(1.0, std::abs(static_cast<double>(left.lse(h))));
      const double error = 8 * kEps * lse;
      EXPECT_NEAR(left.lse(h), right.lse(h), error);
      if (error > 0.01) continue;
      for (std::size_t j = 0; j < this->kColumns; ++j) {
        const double magnitude = std::abs(a.out(h)[j]) + std::abs(b.out(h)[j]) + std::abs(c.out(h)[j]);
        EXPECT_NEAR(left.out(h)[j], right.out(h)[j], (2 * error + 8 * kEps) * magnitude);
      }
    }
  }
}

TYPED_TEST(Merge, DoesNotTouchTheOther) {
  std::mt19937 generator(4);
  auto a = this->random_state(generator), b = this->random_state(generator);
  const auto copy = b;
  merge(a.view(), b.view());
  EXPECT_TRUE(this->identical(b, copy));
}

// Attention over two halves, and over any tree of parts, is attention over all.
TYPED_TEST(Merge, IsAttentionOverTheUnion) {
  const auto p = random_problem<TypeParam>({1000, 24, 37, 3}, 5);
  const auto part = [&p](Position first, Position last) {
    auto q = p.query();
    q.visible = {first, last};
    return attend(Dense{}, q, p.kv());
  };
  for (const Position at : {0, 1, 17, 500, 999, 1000}) {
    auto state = this->merged(part(0, at), part(at, 1000));
    EXPECT_TRUE(agrees_with_dense(state.view(), p, p.query())) << "cut at " << at;
  }
  auto tree = this->merged(this->merged(part(700, 1000), part(0, 3)), this->merged(part(3, 3), part(3, 700)));
  EXPECT_TRUE(agrees_with_dense(tree.view(), p, p.query()));
}

TYPED_TEST(Merge, OfStridedStates) {
  const auto p = random_problem<TypeParam>({100, 24, 37, 3}, 6);
  auto q = p.query();
  q.visible = {0, 40};
  const auto first = attend(Dense{}, q, p.kv());
  q.visible = {40, 100};
  auto second = attend(Dense{}, q, p.kv());
  std::vector<TypeParam> out(3 * 50, 7), lse(3 * 4, 7);
  const BasicStateView<TypeParam> state{{out.data() + 2 * 50, 3, 37, -50}, lse.data(), 4};
  for (std::size_t h = 0; h < 3; ++h) {
    std::copy_n(first.out(h), 37, state.out.row(h));
    state.lse_of(h) = first.lse(h);
  }
  merge(state, second.view());
  EXPECT_TRUE(agrees_with_dense(state, p, p.query()));
  for (std::size_t h = 0; h < 3; ++h) EXPECT_EQ(out[h * 50 + 37], TypeParam{7}) << "written between the rows";
}

// The lse is natural. Of two equal parts it grows by ln 2, not by 1.
TYPED_TEST(Merge, LseIsNatural) {
  auto a = this->empty_state(), b = this->empty_state();
  std::fill_n(a.view().lse, 3, TypeParam{1});
  std::fill_n(b.view().lse, 3, TypeParam{1});
  EXPECT_NEAR(this->merged(a, b).lse(0), 1 + std::log(2.0), 1e-6);
}

TYPED_TEST(Merge, Infinities) {
  std::mt19937 generator(7);
  auto finite = this->random_state(generator), infinite = this->random_state(generator);
  std::fill_n(infinite.view().lse, 3, std::numeric_limits<TypeParam>::infinity());
  EXPECT_TRUE(this->identical(this->merged(finite, infinite), infinite)) << "takes everything";
  EXPECT_TRUE(this->identical(this->merged(infinite, finite), infinite));
  auto both = this->merged(infinite, infinite);
  EXPECT_TRUE(std::isnan(both.lse(0)) && std::isnan(both.out()[0])) << "has no limit";
  auto nan = finite;
  nan.view().lse_of(1) = std::numeric_limits<TypeParam>::quiet_NaN();
  EXPECT_TRUE(std::isnan(this->merged(nan, finite).lse(1)) && std::isnan(this->merged(finite, nan).lse(1)));
  EXPECT_TRUE(std::isnan(this->merged(finite, nan).out(1)[0])) << "out without a weight";
}

}  // namespace
}  // namespace skim::test
