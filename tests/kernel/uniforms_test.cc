// SPDX-License-Identifier: Apache-2.0
// Many numbers at once are the numbers one at a time, bit for bit, wherever a run begins and ends.
#include "skim/kernel/uniforms-inl.h"

#include <gtest/gtest.h>

#include <vector>

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Fills [first, first + count) and compares each number with the draw it stands for.
template <class Real>
void expect_draws(const Draws& draws, Position first, std::size_t count) {
  std::vector<Real> u(count + 2, Real{-1});
  fill_uniforms(draws, first, count, u.data() + 1);
  for (std::size_t j = 0; j < count; ++j) {
    const Real expected = static_cast<Real>(draws.uniform(static_cast<std::uint64_t>(first) + j));
    ASSERT_EQ(u[j + 1], expected) << "number " << j << " of " << count << " from " << first;
  }
  EXPECT_EQ(u.front(), -1) << "written before";
  EXPECT_EQ(u.back(), -1) << "written behind";
}

template <class Real>
class Uniforms : public ::testing::Test {};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Uniforms, Reals);

TYPED_TEST(Uniforms, AreTheDraws) {
  const Draws draws(Stream{.seed = 42, .layer = 3, .head = 1, .sequence = 7}, 1000);
  for (Position first = 0; first < 9; ++first) {
    for (std::size_t count = 0; count <= 200; ++count) expect_draws<TypeParam>(draws, first, count);
  }
  expect_draws<TypeParam>(draws, 12345, 100000);
}

// The counter of a block has 64 bits: around 2^32 blocks a vector of them carries.
TYPED_TEST(Uniforms, CounterCarries) {
  const Draws draws(Stream{.seed = 9}, 5);
  const Position carry = Position{1} << 34;  // four numbers a block
  for (Position before = 0; before <= 140; ++before)
    expect_draws<TypeParam>(draws, carry - before, 200);
  for (Position before = 0; before <= 80; before += 3)
    expect_draws<TypeParam>(draws, 5 * carry - before, 200);
  expect_draws<TypeParam>(draws, (Position{1} << 62) + 3, 100);
}

TYPED_TEST(Uniforms, OfManyStreams) {
  for (std::uint64_t seed = 0; seed < 500; ++seed) {
    expect_draws<TypeParam>(Draws(Stream{.seed = seed * 0x9E3779B97F4A7C15u}, 77), 1, 131);
  }
}

// Never 0, whose logarithm is infinite; 1 is allowed.
TEST(Uniforms, StayAboveZero) {
  const Draws draws(Stream{.seed = 1}, 0);
  std::vector<float> u(1 << 20);
  fill_uniforms(draws, 0, u.size(), u.data());
  double sum = 0;
  for (const float x : u) {
    ASSERT_GT(x, 0.0f);
    ASSERT_LE(x, 1.0f);
    sum += x;
  }
  EXPECT_NEAR(sum / static_cast<double>(u.size()), 0.5, 6 * 0.289 / 1024);
}

#if HWY_TARGET != HWY_SCALAR
// The ends of the range, and where float must round: what (bits + 1) 2^-32 rounds to in double.
TEST(Uniforms, OneRoundingOnly) {
  const Tag<std::uint32_t> d;
  std::vector<std::uint32_t> bits;
  for (const std::uint32_t around :
       {0x0u, 0xFFFFu, 0x10000u, 0xFFFFFFu, 0x1000000u, 0x1FFFFFFu, 0x2FFFFFEu, 0x7FFFFFFFu,
        0x80000000u, 0x8000007Fu, 0x800000FFu, 0xFFFFFF00u, 0xFFFFFF7Fu, 0xFFFFFFFFu}) {
    for (std::uint32_t step = 0; step < 9; ++step) bits.push_back(around + step - 4);
  }
  for (std::uint32_t i = 0; i < 100000; ++i) bits.push_back(i * 0x9E3779B9u);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    const float u = hn::GetLane(to_unit(hn::Set(d, bits[i])));
    ASSERT_EQ(u, static_cast<float>((bits[i] + 1.0) / 4294967296.0)) << bits[i];
  }
}
#endif

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
