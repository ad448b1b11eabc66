// SPDX-License-Identifier: Apache-2.0
// Products of panels: every entry against a plain sum, at every way the tiles can end.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "skim/core/buffer.h"
#include "skim/kernel/panel-inl.h"
#include "support/layouts.h"
#include "support/problem.h"

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
        fill_panel<Real>([&](std::size_t i) { return lanes.data() + i * depth; }, depth, b.data());
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

// Rows go into their lanes and come back, whatever their length and number; a missing one is zero.
TYPED_TEST(Panel, RowsGoInAndComeBack) {
  using Real = TypeParam;
  constexpr std::size_t kP = kPanel<Real>;
  for (std::size_t count = 0; count <= kP; ++count) {
    for (const std::size_t d : {1u, 3u, 16u, 33u, 64u}) {
      std::vector<Real> rows(count * d);
      for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<Real>(i + 1);
      Buffer<Real> panel;
      panel.resize(d * kP);
      fill_panel<Real>([&](std::size_t i) { return i < count ? rows.data() + i * d : nullptr; }, d,
                       panel.data());
      for (std::size_t c = 0; c < d; ++c) {
        for (std::size_t i = 0; i < kP; ++i)
          ASSERT_EQ(panel[c * kP + i], i < count ? rows[i * d + c] : Real{0});
      }
      std::vector<Real> back(count * d, -1), factor(kP);
      for (std::size_t i = 0; i < kP; ++i) factor[i] = static_cast<Real>(i % 3);
      read_panel(panel.data(), count, d, factor.data(),
                 [&](std::size_t i) { return back.data() + i * d; });
      for (std::size_t i = 0; i < back.size(); ++i) ASSERT_EQ(back[i], rows[i] * factor[i / d]);
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
  fill_panel<I8>(
      [&](std::size_t i) -> const float* {
        return i % 4 == 0   ? nullptr
               : i % 4 == 1 ? row.data()
               : i % 4 == 2 ? zeros.data()
                            : poison.data();
      },
      row.size(), panel.data());
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
    widen_row<T, float>(row.data(), cols, wide.data());
    EXPECT_EQ(wide, expected);
  }
}
TEST(PanelRows, WidensEveryLength) {
  expect_widens<float>();
  expect_widens<F16>();
  expect_widens<BF16>();
  expect_widens<I8>();
}

// Rows of numbers that lie one behind the other are read where they are; all others are copied, and are the same.
TEST(PanelRows, RunsAreReadInPlaceOrCopied) {
  const auto p = test::random_problem<float>({300, 20, 12, 1}, 3);
  const auto keys = [](const auto& block) { return block.keys; };
  const auto values = [](const auto& block) { return block.values; };
  for (const Span run : {Span{0, 128}, Span{128, 256}, Span{256, 300}, Span{37, 38}, Span{5, 90}}) {
    const auto first = static_cast<std::size_t>(run.first),
               count = static_cast<std::size_t>(run.size());
    std::vector<float> room(count * 20, 7);
    EXPECT_EQ(widen_run(p.kv(), run, 20, keys, room.data()), p.keys.data() + first * 20);
    EXPECT_EQ(widen_run(p.kv(), run, 12, values, room.data()), p.values.data() + first * 12);
    EXPECT_EQ(room[0], 7) << "nothing is copied";
    const auto expect_copied = [&](const auto& kv) {
      EXPECT_EQ(widen_run(kv, run, 20, keys, room.data()), room.data());
      EXPECT_TRUE(std::equal(room.begin(), room.end(),
                             p.keys.begin() + static_cast<std::ptrdiff_t>(first * 20)));
    };
    const test::Strided strided(p, 1, 1);
    if (count > 1) expect_copied(strided.kv());
    const test::InPages paged(p, 3, test::Adjacency::kApart);
    if (count > 3) expect_copied(paged.kv());
  }
}

TEST(PanelRows, FiniteOrNot) {
  for (std::size_t n = 0; n <= 2 * kStep<float> + 3; ++n) {
    std::vector<float> x(n, -3e38f);
    EXPECT_TRUE(all_finite(x.data(), n));
    for (std::size_t i = 0; i < n; ++i) {
      for (const float bad :
           {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        x[i] = bad;
        EXPECT_FALSE(all_finite(x.data(), n)) << n << ", " << i;
        x[i] = 1;
      }
    }
  }
}

}  // namespace
}  // namespace skim::HWY_NAMESPACE
