// SPDX-License-Identifier: Apache-2.0
// Integer arithmetic of quantised rows: that sums are exact, how far weights are rounded, and what poison does.
#include "skim/kernel/int8-inl.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "support/problem.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Rows of random bytes, -128 included, with random scales.
std::vector<I8> random_bytes(std::size_t rows, std::size_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<I8> bytes(rows * row_values<I8>(cols));
  for (std::size_t i = 0; i < rows; ++i) {
    I8* row = test::row_at(bytes, i, cols);
    for (std::size_t c = 0; c < cols; ++c) row[c].byte = static_cast<std::int8_t>(random());
    const float scale =
        std::ldexp(1 + static_cast<float>(random() % 1000) / 1000, static_cast<int>(random() % 8) - 4);
    std::memcpy(static_cast<void*>(row + cols), &scale, sizeof(scale));
  }
  return bytes;
}

std::vector<const I8*> pointers(const std::vector<I8>& rows, std::size_t cols, std::size_t count) {
  std::vector<const I8*> result;
  for (std::size_t t = 0; t < kBlock; ++t)
    result.push_back(test::row_at(rows, std::min(t, count - 1), cols));
  return result;
}

// ---- dot products ----

/// byte_dots of `heads` rows that are whole numbers up to 32767, with one of them 32767: their step is 1.
void expect_exact_sums(std::size_t heads, std::size_t d, std::size_t count, bool extreme) {
  std::mt19937 random(static_cast<unsigned>(heads * d));
  std::vector<I8> keys = random_bytes(count, d, static_cast<unsigned>(d));
  const std::size_t padded = round_up(d, kStep<float>);
  Buffer<std::int16_t> rows;
  rows.resize(heads * padded);
  std::vector<float> steps;
  for (std::size_t h = 0; h < heads; ++h) {
    std::vector<float> row(d);
    for (float& x : row)
      x = extreme ? 32767.0f : static_cast<float>(static_cast<int>(random() % 65535) - 32767);
    row[random() % d] = 32767;
    steps.push_back(round_row(row.data(), d, rows.data() + h * padded));
    ASSERT_EQ(steps[h], 1);
  }
  if (extreme) {
    for (std::size_t i = 0; i < count; ++i) std::fill_n(test::row_at(keys, i, d), d, I8{-128});
  }
  Buffer<float> out;
  out.resize(heads * kBlock);
  const auto at = pointers(keys, d, count);
  const I8* const* nothing = nullptr;
  byte_dots(RoundedRows{rows.data(), steps.data(), padded}, heads, at.data(), count, d, nothing,
            out.data());
  for (std::size_t h = 0; h < heads; ++h) {
    for (std::size_t t = 0; t < count; ++t) {
      double sum = 0;
      for (std::size_t c = 0; c < d; ++c) sum += double{1} * rows[h * padded + c] * at[t][c].byte;
      const double scale = scale_of(at[t], d);
      // The sum becomes a float and is multiplied twice; beyond kExactSum columns several floats are added.
      const double roundings = 2 + 2 * static_cast<double>(d / kExactSum);
      double magnitude = std::abs(sum);
      if (d > kExactSum) magnitude = static_cast<double>(d) * 32767 * 128;
      ASSERT_NEAR(out[h * kBlock + t], sum * scale, roundings * 0x1p-24 * magnitude * scale)
          << "heads " << heads << ", d " << d << ", key " << t << " of " << count;
    }
  }
}

TEST(ByteDots, AreExactSums) {
  for (const std::size_t d : {1u, 7u, 15u, 16u, 17u, 31u, 33u, 64u, 127u, 128u, 129u, 512u}) {
    for (std::size_t heads = 1; heads <= 9; ++heads) {
      for (const std::size_t count : {1u, 3u, 4u, 15u, 16u}) {
        expect_exact_sums(heads, d, count, false);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

// The largest sums that there are need 31 bits and a sign; longer rows are summed in pieces.
TEST(ByteDots, DoNotOverflow) {
  for (const std::size_t d : {500u, 512u, 513u, 1024u, 1500u, 4096u}) {
    for (const std::size_t heads : {1u, 2u, 4u, 7u}) {
      expect_exact_sums(heads, d, 16, true);
      expect_exact_sums(heads, d, 3, false);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

// ---- weighted values ----

/// The numerators after one block, in the order of the row. Before it they were 1, to be rescaled.
std::vector<std::vector<float>> weighed(const std::vector<float>& weights, std::size_t heads,
                                        const std::vector<I8>& values, std::size_t count,
                                        std::size_t cols, const std::vector<float>& rescale) {
  const std::size_t padded = round_up(cols, kStep<float>);
  Buffer<float> w, numerator;
  w.resize(heads * kBlock);
  numerator.resize(heads * padded);
  for (std::size_t h = 0; h < heads; ++h) {
    for (std::size_t t = 0; t < kBlock; ++t)
      w[h * kBlock + t] = t < count ? weights[h * kBlock + t] : 0.0f;
  }
  for (float& x : numerator) x = 1;
  const auto at = pointers(values, cols, count);
  weigh_bytes(w.data(), rescale.data(), heads, at.data(), count, cols, at.data(), numerator.data(),
              padded);
  std::vector<std::vector<float>> result;
  for (std::size_t h = 0; h < heads; ++h) {
    result.emplace_back(cols);
    from_lanes<I8>(numerator.data() + h * padded, cols, 1.0f, result.back().data());
  }
  return result;
}

// Within half a step of the largest weight * scale for each key. Also where weights are so small that their
// inverse is infinite.
TEST(WeighBytes, RoundsWeightsTo16Bits) {
  std::mt19937 random(5);
  std::uniform_real_distribution<float> uniform;
  for (const int exponent : {0, -30, -99, -101, -125, -140}) {
    for (const std::size_t cols :
         {1u, 3u, 8u, 15u, 16u, 17u, 32u, 33u, 63u, 64u, 65u, 96u, 128u, 200u}) {
      for (std::size_t heads = 1; heads <= 9; ++heads) {
        const std::size_t count = 1 + random() % kBlock;
        const auto values = random_bytes(count, cols, static_cast<unsigned>(cols));
        std::vector<float> weights(heads * kBlock), rescale(heads);
        for (float& w : weights) w = std::ldexp(uniform(random), exponent);
        for (float& r : rescale) r = exponent == 0 ? uniform(random) : 0.0f;
        const auto out = weighed(weights, heads, values, count, cols, rescale);
        for (std::size_t h = 0; h < heads; ++h) {
          double most = 0;
          for (std::size_t t = 0; t < count; ++t) {
            most = std::max(
                most, double{weights[h * kBlock + t]} * scale_of(test::row_at(values, t, cols), cols));
          }
          for (std::size_t c = 0; c < cols; ++c) {
            double sum = rescale[h], magnitude = std::abs(sum), rounding = 0;
            for (std::size_t t = 0; t < count; ++t) {
              const I8* row = test::row_at(values, t, cols);
              const double product =
                  double{weights[h * kBlock + t]} * scale_of(row, cols) * row[c].byte;
              sum += product;
              magnitude += std::abs(product);
              rounding += most / 32767 / 2 * std::abs(double{1} * row[c].byte);
            }
            // A subnormal factor has few bits: half of 2^-149 for each of count * 32767 * 128.
            const double subnormal = 0x1p-150 * 32767 * 128 * static_cast<double>(count);
            ASSERT_NEAR(out[h][c], sum, rounding + 8 * 0x1p-24 * (magnitude + rounding) + subnormal)
                << "exponent " << exponent << ", column " << c << " of " << cols << ", head " << h
                << " of " << heads;
          }
        }
      }
    }
  }
}

// What has weight 0 costs nothing and adds nothing: a block of such keys leaves the numerator alone.
TEST(WeighBytes, NoWeightAddsNothing) {
  const auto values = random_bytes(16, 40, 1);
  const auto out = weighed(std::vector<float>(2 * kBlock, 0.0f), 2, values, 16, 40, {1, 0.5f});
  for (std::size_t c = 0; c < 40; ++c) {
    EXPECT_EQ(out[0][c], 1);
    EXPECT_EQ(out[1][c], 0.5f);
  }
}

// A row of NaN or infinite scale, with any weight; a weight that is NaN. Of the other heads only those concerned.
TEST(WeighBytes, PoisonReachesTheOutput) {
  for (const float scale : {test::kNanF, kInfinity<float>}) {
    for (const float weight : {1.0f, 0.0f}) {
      auto values = random_bytes(16, 40, 1);
      std::memcpy(static_cast<void*>(test::row_at(values, 5, 40) + 40), &scale, sizeof(scale));
      std::vector<float> weights(2 * kBlock, 0.5f);
      weights[5] = weights[kBlock + 5] = weight;
      for (const auto& row : weighed(weights, 2, values, 16, 40, {1, 1})) {
        for (const float x : row) EXPECT_TRUE(std::isnan(x));
      }
      // Behind the last key of a block it does not.
      for (const auto& row : weighed(weights, 2, values, 5, 40, {1, 1})) {
        for (const float x : row) EXPECT_TRUE(std::isfinite(x));
      }
    }
  }
  const auto values = random_bytes(16, 40, 1);
  std::vector<float> weights(2 * kBlock, 0.5f);
  weights[3] = test::kNanF;
  const auto out = weighed(weights, 2, values, 16, 40, {1, 1});
  for (std::size_t c = 0; c < 40; ++c) {
    EXPECT_TRUE(std::isnan(out[0][c]));
    EXPECT_TRUE(std::isfinite(out[1][c]));
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
