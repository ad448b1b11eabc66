// SPDX-License-Identifier: Apache-2.0
#include "skim/kernel/merge-inl.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "support/close.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

template <class Real>
struct Row {
  std::vector<Real> out;
  Real lse;

  static Row empty(std::size_t cols) { return {std::vector<Real>(cols), -kInfinity<Real>}; }
};

template <class Real>
Row<Real> merged(Row<Real> a, const Row<Real>& b) {
  merge_row(a.out.data(), a.lse, b.out.data(), b.lse, a.out.size());
  return a;
}

/// Bit for bit: -0 is not +0.
template <class Real>
::testing::AssertionResult same(const Row<Real>& a, const Row<Real>& b) {
  const auto out = test::same_bits(a.out.data(), b.out.data(), a.out.size());
  return out ? test::same_bits(&a.lse, &b.lse, 1) : out;
}

template <class Real>
Row<Real> random_row(std::size_t cols, std::mt19937& random) {
  std::normal_distribution<double> normal;
  Row<Real> row{{}, static_cast<Real>(10 * normal(random))};
  for (std::size_t c = 0; c < cols; ++c) row.out.push_back(static_cast<Real>(normal(random)));
  return row;
}

template <class Real>
class Merge : public ::testing::Test {};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Merge, Reals);

// o = (o1 e^l1 + o2 e^l2) / (e^l1 + e^l2), lse = ln(e^l1 + e^l2), natural logarithms.
TYPED_TEST(Merge, IsAttentionOverTheUnion) {
  std::mt19937 random(1);
  const double epsilon = test::Arithmetic<TypeParam>::kEpsilon;
  for (int trial = 0; trial < 200; ++trial) {
    const auto a = random_row<TypeParam>(9, random), b = random_row<TypeParam>(9, random);
    const auto m = merged(a, b);
    const long double top = std::max(a.lse, b.lse);
    const long double wa = std::exp(a.lse - top), wb = std::exp(b.lse - top);
    const double lse = static_cast<double>(top + std::log(wa + wb));
    ASSERT_NEAR(m.lse, lse, 4 * epsilon * std::max(1.0, std::abs(lse)));
    for (std::size_t c = 0; c < 9; ++c) {
      const auto magnitude =
          static_cast<double>((wa * std::abs(a.out[c]) + wb * std::abs(b.out[c])) / (wa + wb));
      ASSERT_NEAR(m.out[c], static_cast<double>((wa * a.out[c] + wb * b.out[c]) / (wa + wb)),
                  (8 + 2 * std::abs(static_cast<double>(a.lse - b.lse))) * epsilon * magnitude);
    }
  }
}

TYPED_TEST(Merge, IsCommutativeBitForBit) {
  std::mt19937 random(2);
  for (int trial = 0; trial < 2000; ++trial) {
    const auto a = random_row<TypeParam>(7, random);
    auto b = random_row<TypeParam>(7, random);
    if (trial % 4 == 0) b.lse = a.lse;
    if (trial % 4 == 1) b.lse = std::nextafter(a.lse, TypeParam{100});
    if (trial % 7 == 0) b.out[3] = -a.out[3];
    ASSERT_TRUE(same(merged(a, b), merged(b, a))) << trial;
  }
}

TYPED_TEST(Merge, EmptyIsNeutralBitForBit) {
  std::mt19937 random(3);
  auto a = random_row<TypeParam>(6, random);
  a.out[2] = -TypeParam{0};
  a.out[4] = std::numeric_limits<TypeParam>::denorm_min();
  const auto none = Row<TypeParam>::empty(6);
  EXPECT_TRUE(same(merged(a, none), a));
  EXPECT_TRUE(same(merged(none, a), a));
}

// exp(-inf - -inf) is NaN; two empty sets have an empty union.
TYPED_TEST(Merge, EmptyWithEmptyIsEmpty) {
  const auto none = Row<TypeParam>::empty(6);
  EXPECT_TRUE(same(merged(none, none), none));
}

TYPED_TEST(Merge, IsAssociativeToRounding) {
  std::mt19937 random(4);
  const double epsilon = test::Arithmetic<TypeParam>::kEpsilon;
  for (int trial = 0; trial < 200; ++trial) {
    const auto a = random_row<TypeParam>(5, random), b = random_row<TypeParam>(5, random),
               c = random_row<TypeParam>(5, random);
    const auto left = merged(merged(a, b), c), right = merged(a, merged(b, c));
    ASSERT_NEAR(left.lse, right.lse, 8 * epsilon * std::max(TypeParam{1}, std::abs(left.lse)));
    for (std::size_t i = 0; i < 5; ++i) {
      const TypeParam largest = std::max({std::abs(a.out[i]), std::abs(b.out[i]), std::abs(c.out[i])});
      ASSERT_NEAR(left.out[i], right.out[i], 128 * epsilon * largest);
    }
  }
}

TYPED_TEST(Merge, EqualPartsAreAveraged) {
  const Row<TypeParam> a{{1, -3}, 0}, b{{2, 5}, 0};
  const auto m = merged(a, b);
  EXPECT_EQ(m.out[0], TypeParam(1.5));
  EXPECT_EQ(m.out[1], 1);
  EXPECT_NEAR(m.lse, std::log(2.0), 1e-7) << "base e, not 2";
}

// Far apart there is nothing to add, and nothing overflows.
TYPED_TEST(Merge, TheLargerTakesAllWhenFarApart) {
  for (const TypeParam far : {TypeParam(-1e6), TypeParam(-1e30), TypeParam(1e30)}) {
    const Row<TypeParam> a{{1}, far}, b{{2}, far - std::abs(far) / 2};
    EXPECT_TRUE(same(merged(a, b), a)) << far;
    EXPECT_TRUE(same(merged(b, a), a)) << far;
  }
}

TYPED_TEST(Merge, OneInfiniteLogitTakesAllTwoHaveNoLimit) {
  const Row<TypeParam> certain{{5}, kInfinity<TypeParam>}, other{{7}, 3};
  EXPECT_TRUE(same(merged(certain, other), certain));
  EXPECT_TRUE(same(merged(other, certain), certain));
  EXPECT_TRUE(std::isnan(merged(certain, certain).lse));
}

TYPED_TEST(Merge, NanSpreads) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  const Row<TypeParam> bad{{nan, 1}, nan}, good{{7, 1}, 3};
  for (const auto& m : {merged(bad, good), merged(good, bad)}) {
    EXPECT_TRUE(std::isnan(m.lse));
    EXPECT_TRUE(std::isnan(m.out[0]) && std::isnan(m.out[1]));
  }
}

TYPED_TEST(Merge, IntoMergesEveryHeadAndNothingElse) {
  std::mt19937 random(5);
  constexpr std::size_t kHeads = 3, kCols = 4, kStride = 6;
  std::vector<TypeParam> out_a(kHeads * kStride, -7), out_b(kHeads * kStride, -8),
      lse_a(2 * kHeads, -7), lse_b(kHeads);
  std::vector<Row<TypeParam>> expected;
  for (std::size_t h = 0; h < kHeads; ++h) {
    const auto a = random_row<TypeParam>(kCols, random), b = random_row<TypeParam>(kCols, random);
    std::copy_n(a.out.data(), kCols, out_a.data() + h * kStride);
    std::copy_n(b.out.data(), kCols, out_b.data() + h * kStride);
    lse_a[2 * h] = a.lse;
    lse_b[h] = b.lse;
    expected.push_back(merged(a, b));
  }
  const auto out_b_before = out_b, lse_b_before = lse_b;
  merge_into<TypeParam>({{out_a.data(), kHeads, kCols, kStride}, lse_a.data(), 2},
                        {{out_b.data(), kHeads, kCols, kStride}, lse_b.data(), 1});
  for (std::size_t h = 0; h < kHeads; ++h) {
    EXPECT_TRUE(test::same_bits(out_a.data() + h * kStride, expected[h].out.data(), kCols));
    EXPECT_EQ(lse_a[2 * h], expected[h].lse);
    EXPECT_EQ(lse_a[2 * h + 1], -7);
    EXPECT_EQ(out_a[h * kStride + kCols], -7);
  }
  EXPECT_EQ(out_b, out_b_before);
  EXPECT_EQ(lse_b, lse_b_before);
}

// ---- learned sink logits ----

// The definition: a merge with (0, sink).
TYPED_TEST(Merge, SinkIsAMergeWithAnEmptyValue) {
  std::mt19937 random(6);
  const double epsilon = test::Arithmetic<TypeParam>::kEpsilon;
  for (int trial = 0; trial < 500; ++trial) {
    const auto a = random_row<TypeParam>(5, random);
    auto sink = Row<TypeParam>{std::vector<TypeParam>(5), random_row<TypeParam>(0, random).lse};
    if (trial % 5 == 0) sink.lse = a.lse;
    const auto expected = merged(a, sink);
    auto actual = a;
    merge_sink(actual.out.data(), actual.lse, sink.lse, 5);
    ASSERT_NEAR(actual.lse, expected.lse, 4 * epsilon * std::max(TypeParam{1}, std::abs(expected.lse)));
    for (std::size_t c = 0; c < 5; ++c) {
      ASSERT_NEAR(actual.out[c], expected.out[c], 8 * epsilon * std::abs(expected.out[c]));
    }
  }
}

TYPED_TEST(Merge, SinkTakesItsShareOfTheDenominator) {
  std::vector<TypeParam> out{1, 1};
  TypeParam lse = std::log(TypeParam{10});  // ten keys with logit 0 and value 1
  merge_sink(out.data(), lse, TypeParam{1}, 2);
  const double e = std::exp(1.0);
  EXPECT_NEAR(out[0], 10 / (10 + e), 1e-6);
  EXPECT_NEAR(lse, std::log(10 + e), 1e-6);
}

TYPED_TEST(Merge, SinkOfEmptyAndInfiniteStates) {
  const auto with_sink = [](Row<TypeParam> row, TypeParam sink) {
    merge_sink(row.out.data(), row.lse, sink, row.out.size());
    return row;
  };
  const auto none = Row<TypeParam>::empty(2);
  EXPECT_TRUE(same(with_sink(none, 3), Row<TypeParam>{{0, 0}, 3})) << "nothing but the sink";
  EXPECT_TRUE(same(with_sink(none, -kInfinity<TypeParam>), none));
  const Row<TypeParam> some{{-TypeParam{0}, 5}, 1};
  EXPECT_TRUE(same(with_sink(some, -kInfinity<TypeParam>), some)) << "a sink of weight 0";
  const Row<TypeParam> certain{{4, 5}, kInfinity<TypeParam>};
  EXPECT_TRUE(same(with_sink(certain, 3), certain)) << "one logit of +inf takes all from a finite sink";
  const auto drowned = with_sink(some, kInfinity<TypeParam>);
  EXPECT_EQ(drowned.lse, kInfinity<TypeParam>);
  EXPECT_EQ(drowned.out[1], 0);
  EXPECT_TRUE(std::isnan(with_sink(certain, kInfinity<TypeParam>).lse));
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
