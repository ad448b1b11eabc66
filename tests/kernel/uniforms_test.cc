// SPDX-License-Identifier: Apache-2.0
// Are many uniform numbers at once the same as one at a time?
#include <cstddef>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "skim/kernel/uniforms-inl.h"

namespace skim::test {
namespace {

/// Compares with Draws::uniform, rounded once; nothing may be written beyond `count`.
template <class Real>
void expect_the_draws(const Draws& draws, Position first, std::size_t count) {
  std::vector<Real> out(count + 64, Real(-1));
  HWY_NAMESPACE::fill_uniforms(draws, first, count, out.data());
  for (std::size_t j = 0; j < count; ++j) {
    const double u = draws.uniform(static_cast<std::uint64_t>(first) + j);
    ASSERT_EQ(out[j], static_cast<Real>(u)) << "draw " << first << " + " << j;
    ASSERT_GT(out[j], 0);
    ASSERT_LE(out[j], 1);
  }
  for (std::size_t j = count; j < out.size(); ++j) ASSERT_EQ(out[j], Real(-1)) << "written beyond " << count;
}

template <class Real>
class Uniforms : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(Uniforms, Reals);

TYPED_TEST(Uniforms, AnyRun) {
  const Draws draws(Stream{.seed = 1, .layer = 2, .head = 3, .sequence = 4}, 5);
  for (Position first = 0; first < 9; ++first) {
    for (std::size_t count = 0; count < 150; ++count) expect_the_draws<TypeParam>(draws, first, count);
  }
  expect_the_draws<TypeParam>(draws, 12345, 20000);
}

// The number of a Philox block has 32 bits in one lane and the rest in another: the carry from one to the other.
TYPED_TEST(Uniforms, AcrossTheCarryOfTheCounter) {
  const Draws draws(Stream{.seed = 9}, 1);
  const Position carry = Position{4} << 32;
  for (Position before = 0; before < 80; before += 3) {
    expect_the_draws<TypeParam>(draws, carry - before, 200);
    expect_the_draws<TypeParam>(draws, 5 * carry - before, 200);
  }
  expect_the_draws<TypeParam>(draws, (Position{1} << 62) + 3, 100);
}

TYPED_TEST(Uniforms, ManyStreams) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    expect_the_draws<TypeParam>(Draws(Stream{.seed = seed * 0x9E3779B97F4A7C15u}, 77), 1, 131);
  }
}

#if HWY_TARGET != HWY_SCALAR
// Few bit patterns are hard to round; draws seldom hit them.
TEST(Uniforms, BitsThatAreHardToRound) {
  std::vector<std::uint32_t> bits;
  for (std::uint32_t around : {0u, 0x00FFFFFFu, 0x01000000u, 0x0000FFFFu, 0x00010000u, 0x7FFFFFFFu, 0x80000000u,
                               0xFFFFFF00u, 0xFFFFFF7Fu, 0xFFFFFFFFu, 0x01FFFFFFu, 0x02FFFFFEu}) {
    for (std::uint32_t step = 0; step < 8; ++step) bits.push_back(around + step - 4);
  }
  const HWY_NAMESPACE::Tag<std::uint32_t> d;
  const HWY_NAMESPACE::Tag<float> df;
  std::vector<float> out(HWY_NAMESPACE::kLanes<float>);
  for (const std::uint32_t b : bits) {
    const auto unit = HWY_NAMESPACE::to_unit(HWY_NAMESPACE::hn::Set(d, b));
    HWY_NAMESPACE::hn::StoreU(unit, df, out.data());
    for (const float u : out) EXPECT_EQ(u, static_cast<float>((b + 1.0) * 0x1p-32)) << std::hex << b;
  }
}
#endif

}  // namespace
}  // namespace skim::test
