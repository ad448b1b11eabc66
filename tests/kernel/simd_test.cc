// SPDX-License-Identifier: Apache-2.0
#include "skim/kernel/simd-inl.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "skim/core/buffer.h"
#include "support/problem.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// f on each of the numbers: a whole number of vectors.
template <class Real, class F>
std::vector<Real> map(const std::vector<Real>& x, const F& f) {
  const Tag<Real> tag;
  std::vector<Real> y(x.size());
  for (std::size_t i = 0; i < x.size(); i += kLanes<Real>)
    hn::StoreU(f(hn::LoadU(tag, x.data() + i)), tag, y.data() + i);
  return y;
}

template <class Real>
std::vector<Real> exp_of(std::vector<Real> x) {
  const std::size_t count = x.size();
  x.resize(round_up(count, kLanes<Real>), Real{0});
  std::vector<Real> y = map(x, [](Vec<Real> v) { return exp_nonpositive(v); });
  y.resize(count);
  return y;
}

// ---- exp ----

// Every 97th float of [-87, -0]: 12 million. Measured: 2.7e-7 with fused multiply-adds, 2.8e-7 without; the
// header promises 4e-7.
TEST(Exp, RelativeErrorInFloat) {
  constexpr std::size_t kAtOnce = 1 << 16;
  std::vector<float> x(kAtOnce);
  double worst = 0;
  std::uint32_t bits = std::bit_cast<std::uint32_t>(-0.0f);
  const std::uint32_t last = std::bit_cast<std::uint32_t>(-87.0f);
  while (bits <= last) {
    for (float& value : x) {
      value = std::bit_cast<float>(std::min(bits, last));
      bits += 97;
    }
    const std::vector<float> y = exp_of(x);
    for (std::size_t i = 0; i < kAtOnce; ++i) {
      const double exact = std::exp(static_cast<double>(x[i]));
      worst = std::max(worst, std::abs(y[i] / exact - 1));
    }
  }
  RecordProperty("max_relative_error_in_1e_9", static_cast<int>(worst * 1e9));
  EXPECT_LE(worst, 4e-7);
  EXPECT_GT(worst, 0) << "nothing was measured";
}

TEST(Exp, RelativeErrorInDouble) {
  std::vector<double> x;
  for (int i = 0; i <= 700000; ++i) x.push_back(-i * 1e-3 - 1e-9 * (i % 7));
  x.back() = -700;
  const std::vector<double> y = exp_of(x);
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    worst = std::max(worst, std::abs(y[i] / std::exp(x[i]) - 1));
  EXPECT_LE(worst, 0x1p-50);
}

template <class Real>
class ExpOf : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(ExpOf, Reals);

// The weight of the largest logit is 1, not nearly 1.
TYPED_TEST(ExpOf, ZeroIsExactlyOne) {
  const auto y = exp_of<TypeParam>({TypeParam{0}, -TypeParam{0}});
  EXPECT_EQ(y[0], 1);
  EXPECT_EQ(y[1], 1);
}

TYPED_TEST(ExpOf, MaskedIsExactlyZero) {
  const auto y = exp_of<TypeParam>(
      {-kInfinity<TypeParam>, std::numeric_limits<TypeParam>::lowest(), TypeParam(-1e4)});
  for (const TypeParam value : y) {
    EXPECT_EQ(value, 0);
    EXPECT_FALSE(std::signbit(value));
  }
}

TYPED_TEST(ExpOf, NanStaysNan) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  for (const TypeParam value : exp_of<TypeParam>({nan, -nan})) EXPECT_TRUE(std::isnan(value));
}

TEST(Exp, VanishesBelowMinus87) {
  const std::vector<float> y =
      exp_of<float>({-87.0f, std::nextafter(-87.0f, -100.0f), -87.3f, -88.0f, -104.0f});
  EXPECT_GT(y[0], 0.0f);
  for (std::size_t i = 1; i < y.size(); ++i) EXPECT_EQ(y[i], 0.0f);
}

TEST(Exp, NeverExceedsOne) {
  std::vector<float> x;
  for (std::uint32_t i = 0; i < 100000; ++i) x.push_back(std::bit_cast<float>(0x80000000u + i * 8191));
  for (const float y : exp_of(x)) ASSERT_LE(y, 1.0f);
}

// ---- tanh: Highway's, on which the soft-cap relies ----

TEST(Tanh, AbsoluteErrorInFloat) {
  std::vector<float> x;
  for (int i = -1000000; i <= 1000000; ++i) x.push_back(static_cast<float>(i) * 1.5e-5f);
  for (const float far : {20.0f, 100.0f, 1e10f, 3e38f, kInfinity<float>})
    x.insert(x.end(), {far, -far});
  const std::size_t count = x.size();
  x.resize(round_up(count, kLanes<float>), 0.0f);
  const std::vector<float> y = map(x, [](Vec<float> v) { return hn::Tanh(Tag<float>(), v); });
  double worst = 0;
  for (std::size_t i = 0; i < count; ++i)
    worst = std::max(worst, std::abs(y[i] - std::tanh(static_cast<double>(x[i]))));
  RecordProperty("max_absolute_error_in_1e_9", static_cast<int>(worst * 1e9));
  EXPECT_LE(worst, 2e-7);
  EXPECT_GT(worst, 0) << "nothing was measured";
}

// ---- storage ----

using test::RealOf;

template <class T>
class StorageOf : public testing::Test {
 public:
  /// The values of a step in the order of the row.
  static std::vector<RealOf<T>> in_order(Vec<RealOf<T>> a, Vec<RealOf<T>> b) {
    std::vector<RealOf<T>> values(kStep<RealOf<T>>);
    Storage<T, RealOf<T>>::join(a, b, values.data());
    return values;
  }

  static T numbered(std::size_t i) {
    if constexpr (kHasScale<T>) {
      return {static_cast<std::int8_t>(i + 1)};
    } else {
      return test::stored<T>(static_cast<double>(i) + 0.25);
    }
  }

  /// What `load` makes of it: of a quantised row, the byte.
  static RealOf<T> number_of(T x) {
    if constexpr (kHasScale<T>) {
      return x.byte;
    } else {
      return to_float(x);
    }
  }
};
using AllStorage = testing::Types<float, F16, BF16, I8, double>;
TYPED_TEST_SUITE(StorageOf, AllStorage);

TYPED_TEST(StorageOf, JoinUndoesSplit) {
  using Real = RealOf<TypeParam>;
  std::vector<Real> row(kStep<Real>);
  std::iota(row.begin(), row.end(), Real{1});
  Vec<Real> a, b;
  Storage<TypeParam, Real>::split(row.data(), a, b);
  EXPECT_EQ(TestFixture::in_order(a, b), row);
}

// All patterns of the 16-bit types (for the others: many numbers), at every alignment of an element.
TYPED_TEST(StorageOf, LoadsWhatToFloatReads) {
  using Real = RealOf<TypeParam>;
  std::vector<TypeParam> stored(65536 + kStep<Real>);
  for (std::size_t i = 0; i < stored.size(); ++i) {
    if constexpr (sizeof(TypeParam) == 2) {
      stored[i] = TypeParam{static_cast<std::uint16_t>(i)};
    } else if constexpr (kHasScale<TypeParam>) {
      stored[i] = TypeParam{static_cast<std::int8_t>(i * 7)};
    } else {
      stored[i] = static_cast<TypeParam>(static_cast<int>(i) - 30000) / TypeParam{7};
    }
  }
  for (std::size_t at = 0; at < 65536; ++at) {
    Vec<Real> a, b;
    Storage<TypeParam, Real>::load(stored.data() + at, a, b);
    const std::vector<Real> values = TestFixture::in_order(a, b);
    for (std::size_t i = 0; i < kStep<Real>; ++i) {
      const Real expected = TestFixture::number_of(stored[at + i]);
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(values[i])) << at + i;
      } else {
        ASSERT_EQ(values[i], expected) << at + i;
        ASSERT_EQ(std::signbit(values[i]), std::signbit(expected)) << at + i;
      }
    }
  }
}

// Buffers that end with the row: under AddressSanitizer a read beyond them is an error.
TYPED_TEST(StorageOf, TailReadsNothingBeyondTheRow) {
  using Real = RealOf<TypeParam>;
  for (std::size_t count = 1; count < kStep<Real>; ++count) {
    const auto row = std::make_unique<TypeParam[]>(count);
    for (std::size_t i = 0; i < count; ++i) row[i] = TestFixture::numbered(i);
    Vec<Real> a, b;
    load_tail<Real>(row.get(), count, a, b);
    const std::vector<Real> values = TestFixture::in_order(a, b);
    for (std::size_t i = 0; i < kStep<Real>; ++i) {
      EXPECT_EQ(values[i], i < count ? TestFixture::number_of(TestFixture::numbered(i)) : Real{0})
          << count;
    }
  }
}

TYPED_TEST(StorageOf, LaneOrderRoundTrip) {
  using Real = RealOf<TypeParam>;
  for (const std::size_t cols :
       {std::size_t{1}, std::size_t{3}, std::size_t{7}, kLanes<Real>, kStep<Real> - 1, kStep<Real>,
        kStep<Real> + 1, std::size_t{46}, std::size_t{80}, std::size_t{129}}) {
    const std::size_t padded = round_up(cols, kStep<Real>);
    const auto row = std::make_unique<Real[]>(cols), back = std::make_unique<Real[]>(cols);
    std::iota(row.get(), row.get() + cols, Real{1});
    Buffer<Real> lanes;
    lanes.resize(padded);
    to_lanes<TypeParam>(row.get(), cols, lanes.data());
    // The padding is zero, wherever it is: what it multiplies adds nothing.
    EXPECT_EQ(std::count(lanes.begin(), lanes.end(), Real{0}),
              static_cast<std::ptrdiff_t>(padded - cols));
    from_lanes<TypeParam>(lanes.data(), cols, Real{2}, back.get());
    for (std::size_t c = 0; c < cols; ++c)
      ASSERT_EQ(back[c], 2 * row[c]) << "column " << c << " of " << cols;
  }
}

// The order of to_lanes is the order of load: element by element products meet.
TYPED_TEST(StorageOf, LanesOfQueryAndKeyMeet) {
  using Real = RealOf<TypeParam>;
  std::vector<TypeParam> key(kStep<Real>);
  std::vector<Real> row(kStep<Real>);
  Buffer<Real> lanes;
  lanes.resize(kStep<Real>);
  for (std::size_t i = 0; i < kStep<Real>; ++i) {
    key[i] = TestFixture::numbered(i);
    row[i] = TestFixture::number_of(key[i]);
  }
  to_lanes<TypeParam>(row.data(), row.size(), lanes.data());
  Vec<Real> a, b;
  Storage<TypeParam, Real>::load(key.data(), a, b);
  const Tag<Real> tag;
  EXPECT_TRUE(hn::AllTrue(tag, hn::Eq(a, hn::Load(tag, lanes.data()))));
  EXPECT_TRUE(hn::AllTrue(tag, hn::Eq(b, hn::Load(tag, lanes.data() + kLanes<Real>))));
}

// ---- sums ----

template <class Real>
class SumOf : public testing::Test {};
TYPED_TEST_SUITE(SumOf, Reals);

// Whole numbers: every order of additions gives the same, so a lane that is lost or counted twice shows.
TYPED_TEST(SumOf, FourSumsAreExactOnWholeNumbers) {
  const Tag<TypeParam> tag;
  std::vector<TypeParam> x(4 * kLanes<TypeParam>);
  TypeParam expected[4] = {};
  for (std::size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<TypeParam>((i * 7919 + 13) % 1009) - TypeParam{500};
    expected[i / kLanes<TypeParam>] += x[i];
  }
  const auto at = [&](std::size_t j) { return hn::LoadU(tag, x.data() + j * kLanes<TypeParam>); };
  TypeParam sums[4];
  sum_lanes4<TypeParam>(at(0), at(1), at(2), at(3), sums);
  for (std::size_t j = 0; j < 4; ++j) EXPECT_EQ(sums[j], expected[j]) << j;
}

// One tree, whichever of the four places a vector stands in: canonical bits rest on it.
TYPED_TEST(SumOf, BitsDoNotDependOnThePlace) {
  const Tag<TypeParam> tag;
  std::vector<TypeParam> x(4 * kLanes<TypeParam>);
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = std::sin(static_cast<TypeParam>(i) * TypeParam(12.9898)) * TypeParam(1e3);
  const auto at = [&](std::size_t j) { return hn::LoadU(tag, x.data() + j % 4 * kLanes<TypeParam>); };
  TypeParam first[4];
  sum_lanes4<TypeParam>(at(0), at(1), at(2), at(3), first);
  for (std::size_t turn = 1; turn < 4; ++turn) {
    TypeParam turned[4];
    sum_lanes4<TypeParam>(at(turn), at(turn + 1), at(turn + 2), at(turn + 3), turned);
    for (std::size_t j = 0; j < 4; ++j) EXPECT_EQ(turned[j], first[(turn + j) % 4]);
  }
}

TEST(RoundUp, ToTheNextMultiple) {
  static_assert(round_up(0, 16) == 0 && round_up(1, 16) == 16 && round_up(16, 16) == 16 &&
                round_up(17, 16) == 32);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
