// SPDX-License-Identifier: Apache-2.0
// What may rank positions, and is each thing told from every other?
#include "skim/core/source.h"

#include <gtest/gtest.h>

#include <iterator>
#include <set>
#include <string_view>

namespace {

using skim::Source;

constexpr auto kCount = static_cast<std::size_t>(Source::kSources);

TEST(Source, EachHasANameOfItsOwn) {
  ASSERT_EQ(std::size(skim::kSourceNames), kCount);
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < kCount; ++i) names.insert(skim::name_of(static_cast<Source>(i)));
  EXPECT_EQ(names.size(), kCount);
  EXPECT_EQ(skim::name_of(Source::kKeys), "keys");
  EXPECT_EQ(skim::name_of(Source::kSketch1), "sketch1");
  EXPECT_EQ(skim::name_of(Source::kSketch4), "sketch4");
  EXPECT_EQ(skim::name_of(Source::kSketch8), "sketch8");
  EXPECT_EQ(skim::name_of(Source::kBoxes), "boxes");
  EXPECT_EQ(skim::name_of(Source::kExternal), "external");
}

// The keys are always there, so nobody has to bring them: their set is empty.
TEST(Source, EachButTheKeysHasABitOfItsOwn) {
  EXPECT_EQ(skim::sources_bit(Source::kKeys), 0u);
  std::set<skim::Sources> bits;
  for (std::size_t i = 1; i < kCount; ++i) {
    const skim::Sources bit = skim::sources_bit(static_cast<Source>(i));
    EXPECT_NE(bit, 0u);
    EXPECT_EQ(bit & (bit - 1), 0u) << "more than one bit";
    bits.insert(bit);
  }
  EXPECT_EQ(bits.size(), kCount - 1);
}

}  // namespace
