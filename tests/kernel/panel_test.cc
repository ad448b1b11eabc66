// SPDX-License-Identifier: Apache-2.0
// Products of panels: every entry against a plain sum, at every way the tiles can end.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "skim/core/buffer.h"
#include "skim/kernel/panel-inl.h"

namespace skim::HWY_NAMESPACE {
namespace {

template <class Real>
class Panel : public ::testing::Test {};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Panel, Reals);

TYPED_TEST(Panel, ProductsAreThoseOfPlainSums) {
  using Real = TypeParam;
  constexpr std::size_t kP = kPanel<Real>;
  std::mt19937 random(1);
  std::uniform_real_distribution<double> uniform(-1, 1);
  for (const std::size_t depth : {1u, 2u, 46u, 128u}) {
    for (std::size_t rows = 1; rows <= 2 * kTileRows + 5; ++rows) {
      for (const bool transposed : {false, true}) {  // A[r, k] at r * row + k * step
        const std::size_t row = transposed ? 1 : depth, step = transposed ? rows : 1;
        std::vector<Real> a(rows * depth), lanes(kP * depth);
        for (Real& x : a) x = static_cast<Real>(uniform(random));
        for (Real& x : lanes) x = static_cast<Real>(uniform(random));
        Buffer<Real> b, c;
        b.resize(depth * kP);
        c.resize(rows * kP);
        for (std::size_t i = 0; i < kP; ++i) to_panel(lanes.data() + i * depth, depth, i, b.data());
        panel_product(a.data(), rows, row, step, b.data(), depth,
                      [&](std::size_t r, Vec<Real> low, Vec<Real> high) {
                        hn::Store(low, Tag<Real>(), c.data() + r * kP);
                        hn::Store(high, Tag<Real>(), c.data() + r * kP + kLanes<Real>);
                      });
        for (std::size_t r = 0; r < rows; ++r) {
          for (std::size_t i = 0; i < kP; ++i) {
            double sum = 0;
            for (std::size_t k = 0; k < depth; ++k)
              sum += static_cast<double>(a[r * row + k * step]) *
                     static_cast<double>(lanes[i * depth + k]);
            const double slack = static_cast<double>(std::numeric_limits<Real>::epsilon());
            ASSERT_NEAR(c[r * kP + i], sum, slack * static_cast<double>(depth))
                << rows << " x " << depth;
          }
        }
      }
    }
  }
}

TEST(PanelRows, AMissingRowIsZero) {
  Buffer<float> panel;
  panel.resize(3 * kPanel<float>);
  const float row[] = {1, 2, 3};
  for (std::size_t i = 0; i < kPanel<float>; ++i) to_panel(i == 1 ? row : nullptr, 3, i, panel.data());
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t i = 0; i < kPanel<float>; ++i) {
      EXPECT_EQ(panel[c * kPanel<float> + i], i == 1 ? row[c] : 0.0f);
    }
  }
}

// What a query counts as against quantised keys, the same as where they are read one by one.
TEST(PanelRows, AreRoundedForQuantisedKeys) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> row(37);
  for (float& x : row) x = normal(random);
  Buffer<std::int16_t> rounded;
  rounded.resize(round_up(row.size(), kStep<float>));
  const float step = round_row(row.data(), row.size(), rounded.data());
  Buffer<float> panel;
  panel.resize(row.size() * kPanel<float>);
  const std::vector<float> zeros(row.size()),
      poison(row.size(), std::numeric_limits<float>::infinity());
  for (std::size_t i = 0; i < kPanel<float>; ++i) {
    const float* lane = i % 4 == 0   ? nullptr
                        : i % 4 == 1 ? row.data()
                        : i % 4 == 2 ? zeros.data()
                                     : poison.data();
    to_panel<float, I8>(lane, row.size(), i, panel.data());
  }
  for (std::size_t c = 0; c < row.size(); ++c) {
    for (std::size_t i = 0; i < kPanel<float>; ++i) {
      const float x = panel[c * kPanel<float> + i];
      if (i % 4 == 3) {
        EXPECT_TRUE(std::isnan(x));
      } else {
        EXPECT_EQ(x, i % 4 == 1 ? step * static_cast<float>(rounded[c]) : 0.0f);
      }
    }
  }
}

template <class T>
void expect_widens() {
  std::mt19937 random(2);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (std::size_t cols = 1; cols <= 2 * kStep<float> + 3; ++cols) {
    std::vector<float> numbers(cols), expected(cols), wide(cols, 7);
    for (float& x : numbers) x = uniform(random);
    std::vector<T> row(row_values<T>(cols));  // its size is exact: a sanitizer sees what is read beyond
    from_floats(numbers.data(), cols, row.data());
    to_floats(row.data(), cols, expected.data());
    EXPECT_TRUE((widen_row<T, float>(row.data(), cols, wide.data())));
    EXPECT_EQ(wide, expected);
    for (const float bad :
         {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<T> spoilt = row;
      numbers[cols - 1] = bad;
      from_floats(numbers.data(), cols, spoilt.data());
      EXPECT_FALSE((widen_row<T, float>(spoilt.data(), cols, wide.data()))) << cols;
    }
  }
}
TEST(PanelRows, WidensEveryLengthAndTellsWhatIsNotFinite) {
  expect_widens<float>();
  expect_widens<F16>();
  expect_widens<BF16>();
  expect_widens<I8>();
}

}  // namespace
}  // namespace skim::HWY_NAMESPACE
