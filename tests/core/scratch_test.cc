// SPDX-License-Identifier: Apache-2.0
#include "skim/core/scratch.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>

namespace {

using skim::Buffer;
using skim::Scratch;

TEST(Scratch, TakesWhatIsSetAsideIfThatIsEnough) {
  Buffer<std::byte> kept;
  kept.reserve_exactly(1000);
  EXPECT_EQ(Scratch(kept, 1000).data(), kept.data());
  EXPECT_EQ(Scratch(kept, 0).data(), kept.data());
  const Scratch own(kept, 1001);
  EXPECT_NE(own.data(), kept.data());
  std::memset(own.data(), 1, 1001);
  EXPECT_EQ(kept.capacity(), 1000u) << "it does not grow";
  EXPECT_TRUE(kept.empty()) << "so copies take nothing along";
}

TEST(Scratch, OfItsOwnWhereNothingIs) {
  Buffer<std::byte> kept;
  const Scratch nothing(kept, 0), some(kept, 77);
  EXPECT_EQ(nothing.data(), nullptr);
  ASSERT_NE(some.data(), nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(some.data()) % 64, 0u);
  EXPECT_EQ(kept.data(), nullptr);
}

}  // namespace
