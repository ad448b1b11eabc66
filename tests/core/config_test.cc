// SPDX-License-Identifier: Apache-2.0
#include "skim/core/config.h"

#include <gtest/gtest.h>

#include <hwy/highway.h>

namespace {

// The first include of Highway in this file is the one above: its answer to the compiler's flags is the one
// a user gets.
TEST(Config, FlagsWithAvx2GiveATargetWithAvx2) {
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && defined(__BMI2__)
  EXPECT_LE(HWY_STATIC_TARGET, HWY_AVX2) << "got " << hwy::TargetName(HWY_STATIC_TARGET);
#else
  GTEST_SKIP() << "this build has no AVX2";
#endif
}

TEST(Config, FlagsWithAvx512GiveATargetWithAvx512) {
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512CD__) && defined(__AVX512DQ__) && \
    defined(__AVX512VL__)
  EXPECT_LE(HWY_STATIC_TARGET, HWY_AVX3) << "got " << hwy::TargetName(HWY_STATIC_TARGET);
#else
  GTEST_SKIP() << "this build has no AVX-512";
#endif
}

// What -ffast-math takes away, and why it is refused: no compile-time constants here.
TEST(Config, InfinityIsInfinite) {
  volatile float large = 3e38f;
  const float infinity = large * 10;
  EXPECT_TRUE(infinity > 3.4e38f);
  const float difference = infinity - infinity;
  EXPECT_TRUE(difference != difference);
}

TEST(Config, VersionIsKnown) {
  static_assert(SKIM_VERSION_MAJOR >= 0 && SKIM_VERSION_MINOR >= 0 && SKIM_VERSION_PATCH >= 0);
  static_assert(SKIM_VERSION_MAJOR + SKIM_VERSION_MINOR + SKIM_VERSION_PATCH > 0);
}

SKIM_COLD int cold() { return 7; }

TEST(Config, ColdFunctionsStillRun) { EXPECT_EQ(cold(), 7); }

}  // namespace
