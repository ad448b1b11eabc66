// SPDX-License-Identifier: Apache-2.0
// Are sums of pairs exact, and do they land where they should?
#include "skim/kernel/pairs-inl.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

#if HWY_TARGET != HWY_SCALAR

constexpr std::size_t kBytes = kStep<float>;

TEST(Pairs, BytesAreWidenedInOrderAndNoneBeyondTheEnd) {
  for (std::size_t count = 0; count <= kBytes; ++count) {
    std::vector<I8> bytes(count);  // of exactly this size: a sanitizer sees what is read beyond
    for (std::size_t c = 0; c < count; ++c) bytes[c].byte = static_cast<std::int8_t>(37 * c - 128);
    alignas(64) std::int16_t wide[kBytes];
    hn::Store(count == kBytes ? widen_bytes(bytes.data()) : widen_tail(bytes.data(), count), Tag16(),
              wide);
    for (std::size_t c = 0; c < kBytes; ++c) EXPECT_EQ(wide[c], c < count ? bytes[c].byte : 0) << count;
  }
}

/// 16 accumulators of extreme and random pairs, and their sums by plain loops.
struct Sixteen {
  PairSums sums[4][4];
  std::int64_t lanes[4][4] = {};  // added up

  Sixteen() {
    std::mt19937 random(1);
    for (int h = 0; h < 4; ++h) {
      for (int t = 0; t < 4; ++t) {
        sums[h][t].clear();
        for (int step = 0; step < 8; ++step) {
          alignas(64) std::int16_t x[kBytes], y[kBytes];
          for (std::size_t c = 0; c < kBytes; ++c) {
            x[c] = static_cast<std::int16_t>(step == 0 ? -128 : static_cast<int>(random() % 256) - 128);
            y[c] = static_cast<std::int16_t>(step == 0 ? 32767
                                                       : static_cast<int>(random() % 65535) - 32767);
            lanes[h][t] += std::int64_t{x[c]} * y[c];
          }
          sums[h][t].add(hn::Load(Tag16(), x), hn::Load(Tag16(), y));
        }
      }
    }
  }
  auto of(int h) const { return sum_blocks4(sums[h][0], sums[h][1], sums[h][2], sums[h][3]); }
};

TEST(Pairs, SumsAreExactAndInTheirPlace) {
  const Sixteen x;
  float one[4], two[2 * kBlock], four[4 * kBlock];
  store_sums(x.of(1), one);
  store_sums(x.of(2), x.of(3), two);
  store_sums({x.of(0), x.of(1), x.of(2), x.of(3)}, four);
  for (int t = 0; t < 4; ++t) {
    EXPECT_EQ(one[t], static_cast<float>(x.lanes[1][t]));
    for (int h = 0; h < 4; ++h) {
      const auto expected = static_cast<float>(x.lanes[h][t]);
      EXPECT_EQ(four[h * static_cast<int>(kBlock) + t], expected) << h << ", " << t;
      if (h >= 2) {
        EXPECT_EQ(two[(h - 2) * static_cast<int>(kBlock) + t], expected) << h << ", " << t;
      }
    }
  }
}

#endif

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
