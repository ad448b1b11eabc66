// SPDX-License-Identifier: Apache-2.0
// Cheap random numbers for synthetic data: counter-based, so that any row can be made on its own.
#pragma once

#include <cstddef>
#include <cstdint>

namespace skim_bench {

/// Mixes 64 bits (the finaliser of splitmix64).
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/// The key of row `row` of stream `stream`.
constexpr std::uint64_t row_key(std::uint64_t seed, std::uint64_t stream, std::uint64_t row) {
  return mix(mix(mix(seed) + stream) + row);
}

/// Uniform on {0, ..., bound - 1}, up to 2^-32 of a share.
constexpr std::uint64_t draw_below(std::uint64_t key, std::uint64_t i, std::uint64_t bound) {
  return (mix(key + i) >> 32) * bound >> 32;
}

/// out[0, count) = independent values of mean 0 and variance 1, all alike for the same key.
/// Each is a sum of four 16-bit uniforms (Irwin-Hall): bell-shaped with kurtosis 2.7 instead of 3 and
/// nothing beyond 3.47. Any sum over the channels of a row, such as a logit, is as good as Gaussian. About
/// 0.5 ns a value.
inline void gaussian_row(std::uint64_t key, std::size_t count, float* out) {
  constexpr std::uint32_t kLanes = 16;
  constexpr float kMean = 2 * 65535.0f;
  constexpr float kInverseSd = 1.0f / 37837.227f;  // variance of one uniform: (65536^2 - 1) / 12
  const auto hash = [](std::uint32_t x) {          // the finaliser of MurmurHash3
    x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
    x = (x ^ (x >> 13)) * 0xC2B2AE35u;
    return x ^ (x >> 16);
  };
  const auto low = static_cast<std::uint32_t>(key), high = static_cast<std::uint32_t>(key >> 32);
  for (std::size_t first = 0; first < count; first += kLanes) {
    float block[kLanes];
    for (std::uint32_t j = 0; j < kLanes; ++j) {
      const std::uint32_t counter = (static_cast<std::uint32_t>(first) + j) * 0x9E3779B9u;
      const std::uint32_t a = hash(counter + low), b = hash(counter ^ high);
      const std::uint32_t sum = (a & 0xFFFFu) + (a >> 16) + (b & 0xFFFFu) + (b >> 16);
      block[j] = (static_cast<float>(static_cast<std::int32_t>(sum)) - kMean) * kInverseSd;
    }
    const std::size_t here = count - first < kLanes ? count - first : kLanes;
    for (std::size_t j = 0; j < here; ++j) out[first + j] = block[j];
  }
}

/// <a, b> over d values, in float with 16 running sums: fast wherever the compiler has SIMD.
inline float plain_dot(const float* a, const float* b, std::size_t d) {
  float sum[16] = {};
  std::size_t c = 0;
  for (; c + 16 <= d; c += 16) {
    for (std::size_t j = 0; j < 16; ++j) sum[j] += a[c + j] * b[c + j];
  }
  float total = 0;
  for (const float part : sum) total += part;
  for (; c < d; ++c) total += a[c] * b[c];
  return total;
}

}  // namespace skim_bench
