// SPDX-License-Identifier: Apache-2.0
// The 16-bit types against arithmetic that knows nothing of their bits: sign * significand * 2^exponent. Quantised
// rows against what their scale promises.
#include "skim/core/storage.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace {

using skim::BF16;
using skim::F16;
using skim::from_float;
using skim::I8;
using skim::to_float;

/// What a 16-bit format is made of.
struct Format {
  int mantissa_bits;
  int exponent_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  int largest_exponent() const { return (1 << exponent_bits) - 1; }

  /// Value of a bit pattern; NaN for NaN.
  double value(std::uint32_t bits) const {
    const double sign = bits >> 15 ? -1.0 : 1.0;
    const int exponent = static_cast<int>(bits >> mantissa_bits) & largest_exponent();
    const int mantissa = static_cast<int>(bits) & ((1 << mantissa_bits) - 1);
    if (exponent == largest_exponent()) {
      return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN()
                           : sign * std::numeric_limits<double>::infinity();
    }
    const int significand = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
    return sign * std::ldexp(significand, std::max(exponent, 1) - bias() - mantissa_bits);
  }

  /// x rounded to the nearest value of the format, ties to even; too large becomes infinite.
  double rounded(double x) const {
    if (x == 0 || !std::isfinite(x)) return x;
    const int exponent = std::max(std::ilogb(x), 1 - bias());
    const double quantum = std::ldexp(1.0, exponent - mantissa_bits);
    const double result = std::nearbyint(x / quantum) * quantum;
    const double largest = value(static_cast<std::uint32_t>(largest_exponent() << mantissa_bits) - 1);
    return std::abs(result) > largest ? std::copysign(std::numeric_limits<double>::infinity(), x)
                                      : result;
  }
};

template <class T>
constexpr Format kFormat{};
template <>
constexpr Format kFormat<F16>{10, 5};
template <>
constexpr Format kFormat<BF16>{7, 8};

template <class T>
class Storage16 : public testing::Test {};
using Both = testing::Types<F16, BF16>;
TYPED_TEST_SUITE(Storage16, Both);

TYPED_TEST(Storage16, EveryPatternHasItsValue) {
  int nans = 0;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const double expected = kFormat<TypeParam>.value(bits);
    const float actual = to_float(TypeParam{static_cast<std::uint16_t>(bits)});
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(actual)) << bits;
      ++nans;
    } else {
      ASSERT_EQ(actual, expected) << bits;
      ASSERT_EQ(std::signbit(actual), bits >> 15 != 0) << bits;
    }
  }
  EXPECT_EQ(nans, 2 * ((1 << kFormat<TypeParam>.mantissa_bits) - 1));
}

TYPED_TEST(Storage16, EveryPatternSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const TypeParam x{static_cast<std::uint16_t>(bits)};
    const TypeParam back = from_float<TypeParam>(to_float(x));
    if (std::isnan(to_float(x))) {
      ASSERT_TRUE(std::isnan(to_float(back))) << bits;
    } else {
      ASSERT_EQ(back.bits, bits);
    }
  }
}

// Every place where rounding changes its mind: the middle between two neighbours, and the floats beside it.
TYPED_TEST(Storage16, RoundsToNearestAndTiesToEven) {
  const Format format = kFormat<TypeParam>;
  const auto infinity = static_cast<std::uint32_t>(format.largest_exponent() << format.mantissa_bits);
  for (std::uint32_t low = 0; low < infinity; ++low) {
    const double below = format.value(low);
    // The last neighbour is the value that would come after the largest one.
    const double above = low + 1 < infinity ? format.value(low + 1) : 2 * below - format.value(low - 1);
    const double middle = (below + above) / 2;
    const auto tie = static_cast<float>(middle);
    ASSERT_EQ(static_cast<double>(tie), middle) << "the test needs exact middles";
    const std::uint32_t even = low % 2 == 0 ? low : low + 1;
    ASSERT_EQ(from_float<TypeParam>(tie).bits, even) << tie;
    ASSERT_EQ(from_float<TypeParam>(std::nextafter(tie, 0.0f)).bits, low) << tie;
    ASSERT_EQ(from_float<TypeParam>(std::nextafter(tie, 2 * tie)).bits, low + 1) << tie;
    ASSERT_EQ(from_float<TypeParam>(-tie).bits, even | 0x8000u) << tie;
  }
}

TYPED_TEST(Storage16, AgreesWithArithmeticAllOverTheFloats) {
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 1021) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    const float actual = to_float(from_float<TypeParam>(x));
    if (std::isnan(x)) {
      ASSERT_TRUE(std::isnan(actual)) << bits;
    } else {
      ASSERT_EQ(actual, kFormat<TypeParam>.rounded(x)) << x;
      ASSERT_EQ(std::signbit(actual), std::signbit(x)) << x;
    }
  }
}

// A NaN whose payload is all in the bits that are dropped must not become infinite.
TYPED_TEST(Storage16, NanStaysNan) {
  for (const std::uint32_t payload : {0x1u, 0x1000u, 0x8000u, 0x400000u, 0x7FFFFFu}) {
    for (const std::uint32_t sign : {0u, 0x80000000u}) {
      const float nan = std::bit_cast<float>(sign | 0x7F800000u | payload);
      EXPECT_TRUE(std::isnan(to_float(from_float<TypeParam>(nan)))) << payload;
    }
  }
}

TEST(Storage, TooLargeForF16IsInfinite) {
  EXPECT_EQ(to_float(from_float<F16>(65504.0f)), 65504.0f);
  EXPECT_EQ(to_float(from_float<F16>(65519.996f)), 65504.0f);
  EXPECT_EQ(to_float(from_float<F16>(65520.0f)), std::numeric_limits<float>::infinity());
  EXPECT_EQ(to_float(from_float<F16>(-1e9f)), -std::numeric_limits<float>::infinity());
}

TEST(Storage, FloatsPassThrough) {
  EXPECT_EQ(from_float<float>(0.1f), 0.1f);
  EXPECT_EQ(to_float(0.1f), 0.1f);
  EXPECT_EQ(to_float(0.1), 0.1);  // double stays double
}

TEST(Storage, WorksInConstants) {
  static_assert(from_float<F16>(1.0f).bits == 0x3C00);
  static_assert(from_float<BF16>(-2.0f).bits == 0xC000);
  static_assert(to_float(F16{0x0001}) == 0x1p-24f);
  static_assert(sizeof(F16) == 2 && sizeof(BF16) == 2);
}

TEST(Storage, ArithmeticNamesWhatItCanRead) {
  static_assert(skim::kIsStorage<float, float> && skim::kIsStorage<F16, float> &&
                skim::kIsStorage<BF16, float> && skim::kIsStorage<I8, float>);
  static_assert(skim::kIsStorage<double, double>);
  static_assert(!skim::kIsStorage<double, float> && !skim::kIsStorage<float, double> &&
                !skim::kIsStorage<F16, double> && !skim::kIsStorage<int, float>);
}

// ---- rows ----

std::vector<I8> quantised(const std::vector<float>& row) {
  std::vector<I8> stored(skim::row_values<I8>(row.size()));
  skim::quantize_row(row.data(), row.size(), stored.data());
  return stored;
}

TEST(RowsOfI8, AreBytesWithTheirScaleBehind) {
  static_assert(sizeof(I8) == 1 && skim::row_values<I8>(128) == 132 &&
                skim::row_values<BF16>(128) == 128);
  const auto stored = quantised({1, -127, 0.4f, 63.6f, -0.6f, 127});
  const int bytes[] = {1, -127, 0, 64, -1, 127};
  for (std::size_t c = 0; c < 6; ++c) EXPECT_EQ(stored[c].byte, bytes[c]) << c;
  EXPECT_EQ(skim::scale_of(stored.data(), 6), 1);
  float back[6];
  skim::to_floats(stored.data(), 6, back);
  for (std::size_t c = 0; c < 6; ++c) EXPECT_EQ(back[c], static_cast<float>(bytes[c]));
}

// Half a scale and half an ulp of the number, at every magnitude a float has: where the scale is subnormal too.
TEST(RowsOfI8, AreWithinHalfAScale) {
  std::mt19937_64 generator(1);
  std::normal_distribution<float> normal;
  std::vector<float> row(33);
  for (int exponent = -149; exponent <= 124; ++exponent) {
    for (int trial = 0; trial < 20; ++trial) {
      for (float& x : row) x = std::ldexp(normal(generator), exponent);
      const auto stored = quantised(row);
      const double scale = skim::scale_of(stored.data(), row.size());
      double max = 0;
      for (std::size_t c = 0; c < row.size(); ++c) {
        const double x = row[c], value = scale * stored[c].byte;
        max = std::max(max, std::abs(x));
        ASSERT_LE(std::abs(x - value), scale / 2 + std::abs(x) * 0x1p-23) << "exponent " << exponent;
        ASSERT_GE(stored[c].byte, -127);
      }
      // As small as it can be, in steps of a subnormal.
      ASSERT_NEAR(scale, max / 127, max / 127 * 0x1p-22 + 0x1p-149) << "exponent " << exponent;
    }
  }
}

TEST(RowsOfI8, TiesGoToEven) {
  const auto stored = quantised({0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 127});
  const int bytes[] = {0, 2, 2, 0, -2, 127};
  for (std::size_t c = 0; c < 6; ++c) EXPECT_EQ(stored[c].byte, bytes[c]) << c;
}

TEST(RowsOfI8, TheLargestFloatFits) {
  constexpr float kMax = std::numeric_limits<float>::max();
  const auto stored = quantised({kMax, -kMax, kMax / 2 * 1.01f});
  EXPECT_EQ(stored[0].byte, 127);
  EXPECT_EQ(stored[1].byte, -127);
  EXPECT_EQ(stored[2].byte, 64);
  EXPECT_TRUE(std::isfinite(skim::scale_of(stored.data(), 3)));
}

TEST(RowsOfI8, OfZerosHaveNoScale) {
  for (const auto& row : {std::vector<float>{0, -0.0f, 0}, std::vector<float>{}}) {
    const auto stored = quantised(row);
    EXPECT_EQ(skim::scale_of(stored.data(), row.size()), 0);
    for (std::size_t c = 0; c < row.size(); ++c) EXPECT_EQ(stored[c].byte, 0);
  }
}

// What is not a number must not become one.
TEST(RowsOfI8, AnInfinityOrNanPoisonsTheRow) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const float x : {kInf, -kInf, std::numeric_limits<float>::quiet_NaN(),
                        -std::numeric_limits<float>::quiet_NaN()}) {
    const auto stored = quantised({1, x, 2});
    EXPECT_TRUE(std::isnan(skim::scale_of(stored.data(), 3)));
    float back[3];
    skim::to_floats(stored.data(), 3, back);
    for (const float y : back) EXPECT_TRUE(std::isnan(y));
  }
}

TEST(Rows, OfOtherTypesAreRoundedValueByValue) {
  const float row[] = {1.0f / 3, -2.5f, 65519};
  F16 f16[3];
  BF16 bf16[3];
  skim::from_floats(row, 3, f16);
  skim::from_floats(row, 3, bf16);
  float back[3];
  skim::to_floats(f16, 3, back);
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_EQ(f16[c].bits, from_float<F16>(row[c]).bits);
    EXPECT_EQ(bf16[c].bits, from_float<BF16>(row[c]).bits);
    EXPECT_EQ(back[c], to_float(f16[c]));
  }
}

}  // namespace
