// SPDX-License-Identifier: Apache-2.0
// How far is a query rounded for quantised keys, and what becomes of one that is no number?
#include "skim/kernel/round-inl.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "skim/core/buffer.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// A row and its step, as round_row makes them.
struct Rounded {
  Buffer<std::int16_t> numbers;
  float step;

  explicit Rounded(const std::vector<float>& row) {
    numbers.resize(round_up(row.size(), kStep<float>) + 1);
    for (std::int16_t& x : numbers) x = 7;
    step = round_row(row.data(), row.size(), numbers.data());
  }
};

TEST(RoundRow, StepsAreTheLargestOver32767) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const std::size_t d : {1u, 7u, 15u, 16u, 17u, 33u, 128u}) {
    for (int exponent = -149; exponent <= 124; exponent += 3) {
      std::vector<float> row(d);
      for (float& x : row) x = std::ldexp(normal(random), exponent);
      const Rounded r(row);
      float max = 0;
      for (const float x : row) max = std::max(max, std::abs(x));
      ASSERT_NEAR(r.step, static_cast<double>(max) / 32767,
                  static_cast<double>(max) * 0x1p-37 + 0x1p-149);
      for (std::size_t c = 0; c < d; ++c) {
        ASSERT_NEAR(static_cast<double>(r.step) * r.numbers[c], row[c],
                    r.step / 2.0 + std::abs(row[c]) * 0x1p-23)
            << "d " << d << ", exponent " << exponent;
      }
      for (std::size_t c = d; c < round_up(d, kStep<float>); ++c) ASSERT_EQ(r.numbers[c], 0) << d;
      ASSERT_EQ(r.numbers[round_up(d, kStep<float>)], 7) << "written beyond the row";
    }
  }
}

TEST(RoundRow, ZerosAndPoison) {
  constexpr float kNanF = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Rounded(std::vector<float>(20, 0.0f)).step, 0);
  EXPECT_EQ(Rounded(std::vector<float>(20, -0.0f)).step, 0);
  for (const float x : {kNanF, -kNanF, kInfinity<float>, -kInfinity<float>}) {
    for (const std::size_t at : {0u, 5u, 19u}) {
      std::vector<float> row(20, 1.0f);
      row[at] = x;
      const Rounded r(row);
      EXPECT_TRUE(std::isnan(r.step));
      for (std::size_t c = 0; c < 20; ++c) EXPECT_EQ(r.numbers[c], 0);
    }
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
