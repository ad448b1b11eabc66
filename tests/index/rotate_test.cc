// SPDX-License-Identifier: Apache-2.0
// Is the rotation one, and always the same one?
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/close.h"

namespace skim::test {
namespace {

constexpr std::size_t kTogether = HWY_NAMESPACE::kLanes<float>;
constexpr std::size_t kSizes[] = {8, 16, 32, 64, 128, 256, 512, 1024};

/// kLanes vectors of normal numbers, [size, kLanes], aligned.
Buffer<float> vectors(std::size_t size, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal;
  Buffer<float> x;
  x.resize(size * kTogether);
  for (float& v : x) v = normal(generator);
  return x;
}

double dot(const Buffer<float>& x, std::size_t size, std::size_t a, std::size_t b) {
  double sum = 0;
  for (std::size_t c = 0; c < size; ++c) sum += double{x[c * kTogether + a]} * double{x[c * kTogether + b]};
  return sum;
}

/// Each of the three rounds makes log2(size) + 2 roundings of a component, each below 2^-24 of what it has become: of
/// a vector's length, since every step keeps that.
double error_of(std::size_t size) { return 3 * static_cast<double>(std::bit_width(size) + 1) * 0x1p-24; }

TEST(Rotate, KeepsDotProducts) {
  for (const std::size_t size : kSizes) {
    const Buffer<float> before = vectors(size, 1);
    Buffer<float> after = before;
    HWY_NAMESPACE::rotate(after.data(), size);
    for (std::size_t a = 0; a < kTogether; ++a) {
      for (std::size_t b = 0; b < kTogether; ++b) {
        const double lengths = std::sqrt(dot(before, size, a, a) * dot(before, size, b, b));
        EXPECT_NEAR(dot(after, size, a, b), dot(before, size, a, b), 2.1 * error_of(size) * lengths) << size;
      }
    }
  }
}

// In words: three times random signs, then all sums and differences. The signs are the first bits of a counter.
TEST(Rotate, IsThreeRoundsOfSignsAndHadamard) {
  for (const std::size_t size : kSizes) {
    const Buffer<float> before = vectors(size, 2);
    Buffer<float> after = before;
    HWY_NAMESPACE::rotate(after.data(), size);
    std::vector<double> x(size), y(size);
    for (std::size_t c = 0; c < size; ++c) x[c] = before[c * kTogether];
    const double length = std::sqrt(dot(before, size, 0, 0));
    for (std::uint32_t round = 0; round < 3; ++round) {
      for (std::size_t c = 0; c < size; ++c) {
        const auto block = Philox::block(0x536B6574636831, {round, static_cast<std::uint32_t>(c / 128 * 128), 0, 0});
        if (block[c % 128 / 32] >> c % 32 & 1) x[c] = -x[c];
      }
      for (std::size_t i = 0; i < size; ++i) {
        y[i] = 0;
        for (std::size_t j = 0; j < size; ++j) y[i] += std::popcount(i & j) % 2 == 0 ? x[j] : -x[j];
        y[i] /= std::sqrt(static_cast<double>(size));
      }
      x = y;
    }
    for (std::size_t c = 0; c < size; ++c) EXPECT_NEAR(after[c * kTogether], x[c], error_of(size) * length) << size;
  }
}

// What a key becomes depends on nothing beside it, or bulk and single appends would differ.
TEST(Rotate, ALaneKnowsNothingOfTheOthers) {
  for (const std::size_t size : kSizes) {
    Buffer<float> many = vectors(size, 3);
    Buffer<float> one;
    for (std::size_t t = 0; t < kTogether; ++t) {
      one.resize(size * kTogether);
      for (std::size_t c = 0; c < size; ++c) {
        for (std::size_t lane = 0; lane < kTogether; ++lane) one[c * kTogether + lane] = lane == 0 ? many[c * kTogether + t] : NAN;
      }
      HWY_NAMESPACE::rotate(one.data(), size);
      Buffer<float> turned = many;
      HWY_NAMESPACE::rotate(turned.data(), size);
      for (std::size_t c = 0; c < size; ++c) {
        EXPECT_TRUE(same_bits(&one[c * kTogether], &turned[c * kTogether + t], 1)) << size << ", lane " << t;
      }
    }
  }
}

// One component alone is spread evenly: no channel of a key decides its signs on its own.
TEST(Rotate, SpreadsOutlierChannels) {
  for (const std::size_t size : {64u, 128u, 256u}) {
    double most = 0;
    for (std::size_t channel = 0; channel < size; ++channel) {
      Buffer<float> x;
      x.resize(size * kTogether);
      for (float& v : x) v = 0;
      x[channel * kTogether] = 1;
      HWY_NAMESPACE::rotate(x.data(), size);
      for (std::size_t c = 0; c < size; ++c) most = std::max(most, std::abs(double{x[c * kTogether]}));
    }
    // Components are nearly normal, of variance 1 / size; the largest of size^2 of them is near sqrt(4 ln size / size).
    EXPECT_LT(most, 1.4 * std::sqrt(4 * std::log(static_cast<double>(size)) / static_cast<double>(size))) << size;
  }
}

}  // namespace
}  // namespace skim::test
