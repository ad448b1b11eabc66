// SPDX-License-Identifier: Apache-2.0
// Is it right for keys and values of any storage type, in any combination?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

template <class K, class V>
void expect_right() {
  for (const std::size_t group : {1u, 2u, 3u, 4u, 5u, 7u, 8u}) {
    for (const std::size_t d : {1u, 7u, 46u, 64u, 80u}) {
      const std::size_t d_v = 97 - d;
      for (const std::size_t n : {1u, 17u, 100u}) {
        SCOPED_TRACE(testing::Message() << "group " << group << ", d " << d << ", d_v " << d_v << ", n " << n);
        const auto p = random_problem<K, V>({n, d, d_v, group}, group * d * n);
        State state = attend(Dense{}, p.query(), p.kv());
        EXPECT_TRUE(agrees_with_dense(state.view(), p, p.query()));
        // The same by picks, which take another way through the kernel.
        Selection picks;
        for (Position i = 0; i < static_cast<Position>(n); ++i) picks.add(i, 0.01 * static_cast<double>(i));
        state = attend(picks, p.query(), p.kv());
        EXPECT_TRUE(agrees(state.view(), p, p.query(), list_of(picks)));
      }
    }
  }
}

TEST(Storage, F32WithF32) { expect_right<float, float>(); }
TEST(Storage, F32WithF16) { expect_right<float, F16>(); }
TEST(Storage, F32WithBF16) { expect_right<float, BF16>(); }
TEST(Storage, F16WithF32) { expect_right<F16, float>(); }
TEST(Storage, F16WithF16) { expect_right<F16, F16>(); }
TEST(Storage, F16WithBF16) { expect_right<F16, BF16>(); }
TEST(Storage, BF16WithF32) { expect_right<BF16, float>(); }
TEST(Storage, BF16WithF16) { expect_right<BF16, F16>(); }
TEST(Storage, BF16WithBF16) { expect_right<BF16, BF16>(); }

// An accumulator of 16 bits would overflow.
TEST(Storage, LargeValuesInManyKeys) {
  auto p = random_problem<F16, F16>({65536, 8, 8, 1}, 1);
  for (F16& v : p.values) v = stored<F16>(60000);
  State state = attend(Dense{}, p.query(), p.kv());
  EXPECT_TRUE(agrees_with_dense(state.view(), p, p.query()));
  for (std::size_t i = 0; i < p.values.size(); ++i) p.values[i] = stored<F16>(i / 8 % 2 == 0 ? 60000 : -60000);
  state = attend(Dense{}, p.query(), p.kv());
  EXPECT_TRUE(agrees_with_dense(state.view(), p, p.query()));
}

// So would a logit of 16 bits.
TEST(Storage, LogitsBeyondTheRangeOfF16) {
  auto p = random_problem<F16, F16>({40, 64, 16, 2}, 2);
  for (std::size_t i = 0; i < 40; ++i) {
    for (std::size_t c = 0; c < 64; ++c) p.keys[i * 64 + c] = stored<F16>(50000);
    p.keys[i * 64 + i % 8] = stored<F16>(49000 - 32.0 * static_cast<double>(i));
  }
  for (float& x : p.q) x = 1.0f / 16;
  BasicQuery<float> q = p.query();
  q.logit.scale = 1;
  const Selection all = select(Dense{}, q, p.kv());
  State state = attend(all, q, p.kv());
  EXPECT_GT(state.lse(0), 150000.0f);
  EXPECT_TRUE(agrees_with_dense(state.view(), p, q));
}

// What a conversion makes of numbers that the storage type does not hold is known: an infinity.
TEST(Storage, OverflowInTheStorageTypeIsAnInfinity) {
  auto p = random_problem<float, F16>({3, 8, 8, 1}, 3);
  p.values[8] = stored<F16>(1e6);
  State state = attend(Dense{}, p.query(), p.kv());
  EXPECT_EQ(state.out()[0], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(agrees_with_dense(state.view(), p, p.query()));
}

// The smallest numbers of each type are not flushed to 0.
TEST(Storage, Subnormals) {
  auto p = random_problem<F16, F16>({20, 16, 16, 1}, 4);
  for (std::size_t i = 0; i < p.values.size(); ++i) p.values[i] = F16{static_cast<std::uint16_t>(1 + i % 1000)};
  for (std::size_t i = 0; i < p.keys.size(); ++i) p.keys[i] = F16{static_cast<std::uint16_t>(1 + i % 1023)};
  for (float& x : p.q) x *= 0x1p14f;
  const State state = attend(Dense{}, p.query(), p.kv());
  EXPECT_GT(state.out()[0], 0.0f);
  EXPECT_TRUE(agrees_with_dense(State(state).view(), p, p.query()));
}

}  // namespace
}  // namespace skim::test
