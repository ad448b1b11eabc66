// SPDX-License-Identifier: Apache-2.0
// Are keys and values where matrix products look for them, and do gradients find their way back?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/guarded.h"
#include "support/problem.h"

namespace skim::test {
namespace {

template <class Real>
class KeyBlocksOf : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(KeyBlocksOf, Reals);

TYPED_TEST(KeyBlocksOf, AnyStretch) {
  using Blocks = HWY_NAMESPACE::KeyBlocks<TypeParam>;
  constexpr std::size_t kP = HWY_NAMESPACE::kPanel<TypeParam>;
  for (const std::size_t d : {1u, 7u, 32u, 80u}) {
    const std::size_t d_v = 3 * d + 2;
    const auto p = random_problem<TypeParam>({300, d, d_v, 1}, d);
    for (const skim::Span positions : {skim::Span{0, 1}, {5, 133}, {5, 134}, {100, 300}}) {
      Blocks keys(positions, d, d_v);
      Buffer<TypeParam> memory;
      memory.resize(keys.size());
      keys.load(p.kv(), memory.data());
      const auto count = static_cast<std::size_t>(positions.size());
      EXPECT_EQ(keys.blocks(), (count + 127) / 128);
      EXPECT_EQ(keys.block(keys.blocks() - 1).last, positions.last);
      Guarded<TypeParam> dk(300 * d), dv(300 * d_v);
      std::fill_n(dk.data(), dk.size(), TypeParam{1});
      std::fill_n(dv.data(), dv.size(), TypeParam{2});
      for (std::size_t i = 0; i < keys.blocks() * 128; ++i) {
        const std::size_t at = static_cast<std::size_t>(positions.first) + i;
        for (std::size_t c = 0; c < d; ++c) {
          const TypeParam key = i < count ? p.keys[at * d + c] : 0;
          ASSERT_EQ(keys.key_row(i)[c], key);
          ASSERT_EQ(keys.key_panel(i / kP * kP)[c * kP + i % kP], key);
          ASSERT_EQ(keys.dk(i)[c], 0);
          keys.dk(i)[c] = static_cast<TypeParam>(i + c);
        }
        for (std::size_t c = 0; c < d_v; ++c) {
          ASSERT_EQ(keys.value_panel(i / kP * kP)[c * kP + i % kP], i < count ? p.values[at * d_v + c] : 0);
          ASSERT_EQ(keys.dv(i)[c], 0);
          keys.dv(i)[c] = static_cast<TypeParam>(2 * i + c);
        }
        ASSERT_EQ(keys.key_row(i)[d], 0);  // whole vectors are read
      }
      EXPECT_TRUE(keys.keys_are_finite());
      keys.add_to({{dk.data(), 300, d}, {dv.data(), 300, d_v}});
      for (std::size_t i = 0; i < 300; ++i) {
        const bool in = positions.contains(static_cast<Position>(i));
        const std::size_t key = in ? i - static_cast<std::size_t>(positions.first) : 0;
        for (std::size_t c = 0; c < d; ++c)
          ASSERT_EQ(dk.data()[i * d + c], 1 + static_cast<TypeParam>(in ? key + c : 0));
        for (std::size_t c = 0; c < d_v; ++c) {
          ASSERT_EQ(dv.data()[i * d_v + c], 2 + static_cast<TypeParam>(in ? 2 * key + c : 0));
        }
      }
      EXPECT_TRUE(dk.fences_stand() && dv.fences_stand());
    }
  }
}

TEST(KeyBlocks, SeeWhatIsNotFinite) {
  auto p = random_problem<float>({200, 20, 5, 1}, 1);
  p.keys[150 * 20 + 19] = NAN;
  for (const skim::Span positions : {skim::Span{0, 150}, {150, 151}, {151, 200}}) {
    HWY_NAMESPACE::KeyBlocks<float> keys(positions, 20, 5);
    Buffer<float> memory;
    memory.resize(keys.size());
    keys.load(p.kv(), memory.data());
    EXPECT_EQ(keys.keys_are_finite(), !positions.contains(150));
  }
}

// Rows below each other must not fall into the same sets of a cache: their distance is an odd number of lines.
TEST(KeyBlocks, RowsOfCopiesLieApart) {
  for (const std::size_t d : {32u, 64u, 96u, 128u, 256u}) {
    EXPECT_EQ(HWY_NAMESPACE::copied_row<float>(d) * sizeof(float) % 128, 64u) << d;
    EXPECT_GE(HWY_NAMESPACE::copied_row<float>(d), d);
  }
}

}  // namespace
}  // namespace skim::test
