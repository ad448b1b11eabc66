// SPDX-License-Identifier: Apache-2.0
// Does it not matter where the rows lie: strides, order, alignment, interleaving?
#include <cstring>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

template <class Kv>
void expect_same_as_flat(const Problem<typename Kv::Key, typename Kv::Value>& p, const Kv& kv) {
  const auto e = stack(Sinks{2}, TopK{5}, PriorityTail{6});
  for (const bool dense : {true, false}) {
    State flat = dense ? attend(Dense{}, p.query(), p.kv()) : attend(e, p.query(), p.kv());
    State state = dense ? attend(Dense{}, p.query(), kv) : attend(e, p.query(), kv);
    EXPECT_TRUE(same_bits(state.out(), flat.out(), p.shape.group * p.shape.d_v));
    EXPECT_TRUE(same_bits(state.view().lse, flat.view().lse, p.shape.group));
  }
}

TEST(Strides, OfKeysAndValuesApart) {
  const auto p = random_problem<float>({50, 24, 20, 3}, 1);
  for (const std::size_t key_gap : {0u, 1u, 40u}) {
    for (const std::size_t value_gap : {0u, 3u, 24u}) {
      const Strided<float, float> strided(p, key_gap, value_gap);
      expect_same_as_flat(p, strided.kv());
    }
  }
}

TEST(Strides, OfKeysAndValuesInterleaved) {
  const auto p = random_problem<float>({50, 24, 20, 3}, 2);
  std::vector<float> both(50 * 44);
  for (std::size_t i = 0; i < 50; ++i) {
    std::copy_n(p.keys.data() + i * 24, 24, both.data() + i * 44);
    std::copy_n(p.values.data() + i * 20, 20, both.data() + i * 44 + 24);
  }
  expect_same_as_flat(p, ContiguousKv<float>{{both.data(), 50, 24, 44}, {both.data() + 24, 50, 20, 44}});
}

TEST(Strides, Backwards) {
  const auto p = random_problem<float>({50, 24, 20, 3}, 3);
  std::vector<float> keys(p.keys), values(p.values);
  for (std::size_t i = 0; i < 50; ++i) {
    std::copy_n(p.keys.data() + i * 24, 24, keys.data() + (49 - i) * 24);
    std::copy_n(p.values.data() + i * 20, 20, values.data() + (49 - i) * 20);
  }
  expect_same_as_flat(p, ContiguousKv<float>{{keys.data() + 49 * 24, 50, 24, -24}, {values.data() + 49 * 20, 50, 20, -20}});
}

TEST(Strides, OfZeroRepeatOneRow) {
  auto p = random_problem<float>({50, 24, 20, 3}, 4);
  for (std::size_t i = 1; i < 50; ++i) {
    std::copy_n(p.keys.data(), 24, p.keys.data() + i * 24);
    std::copy_n(p.values.data(), 20, p.values.data() + i * 20);
  }
  expect_same_as_flat(p, ContiguousKv<float>{{p.keys.data(), 50, 24, 0}, {p.values.data(), 50, 20, 0}});
}

TEST(Strides, ThatLetRowsOverlap) {
  auto p = random_problem<float>({50, 24, 20, 3}, 5);
  const std::vector<float> line(p.keys.begin(), p.keys.begin() + 49 * 5 + 24);
  for (std::size_t i = 0; i < 50; ++i) std::copy_n(line.data() + i * 5, 24, p.keys.data() + i * 24);
  expect_same_as_flat(p, ContiguousKv<float>{{line.data(), 50, 24, 5}, {p.values.data(), 50, 20}});
}

/// Rows at every alignment that their type allows.
template <class K>
void expect_any_alignment() {
  const auto p = random_problem<K>({50, 31, 17, 3}, 6);
  for (std::size_t shift = 0; shift < 64 / sizeof(K); shift += 3) {
    std::vector<K> keys(p.keys.size() + shift), values(p.values.size() + shift);
    std::copy(p.keys.begin(), p.keys.end(), keys.begin() + static_cast<std::ptrdiff_t>(shift));
    std::copy(p.values.begin(), p.values.end(), values.begin() + static_cast<std::ptrdiff_t>(shift));
    expect_same_as_flat(p, ContiguousKv<K>{{keys.data() + shift, 50, 31}, {values.data() + shift, 50, 17}});
  }
}
TEST(Strides, AnyAlignmentOfF32) { expect_any_alignment<float>(); }
TEST(Strides, AnyAlignmentOfF16) { expect_any_alignment<F16>(); }
TEST(Strides, AnyAlignmentOfBF16) { expect_any_alignment<BF16>(); }
TEST(Strides, AnyAlignmentOfI8) { expect_any_alignment<I8>(); }

// Rows of int8 with a gap behind their scales, adjacent keys and values, backwards, and one row repeated.
TEST(Strides, OfI8) {
  auto p = random_problem<I8>({50, 24, 20, 3}, 8);
  const Strided<I8, I8> strided(p, 5, 3);
  expect_same_as_flat(p, strided.kv());
  constexpr std::size_t kKey = 28, kValue = 24;
  std::vector<I8> both(50 * (kKey + kValue));
  for (std::size_t i = 0; i < 50; ++i) {
    std::copy_n(p.keys.data() + i * kKey, kKey, both.data() + (49 - i) * (kKey + kValue));
    std::copy_n(p.values.data() + i * kValue, kValue, both.data() + (49 - i) * (kKey + kValue) + kKey);
  }
  const I8* last = both.data() + 49 * (kKey + kValue);
  expect_same_as_flat(p, ContiguousKv<I8>{{last, 50, 24, -52}, {last + kKey, 50, 20, -52}});
  for (std::size_t i = 1; i < 50; ++i) {
    std::copy_n(p.keys.data(), kKey, p.keys.data() + i * kKey);
    std::copy_n(p.values.data(), kValue, p.values.data() + i * kValue);
  }
  expect_same_as_flat(p, ContiguousKv<I8>{{p.keys.data(), 50, 24, 0}, {p.values.data(), 50, 20, 0}});
}

TEST(Strides, OfQOutAndLse) {
  const auto p = random_problem<float>({50, 24, 20, 3}, 7);
  State flat = attend(Dense{}, p.query(), p.kv());
  for (const Grouping grouping : {Grouping::kPerGroup, Grouping::kPerHead}) {
    Query q = p.query();
    q.grouping = grouping;
    std::vector<float> rows(3 * 29, NAN);
    for (std::size_t h = 0; h < 3; ++h) std::copy_n(p.q.data() + h * 24, 24, rows.data() + (2 - h) * 29);
    q.rows = {rows.data() + 2 * 29, 3, 24, -29};
    std::vector<float> out(3 * 23, 7.0f), lse(3 * 5, 7.0f);
    Workspace ws;
    attend(Dense{}, q, p.kv(), {{out.data() + 2 * 23, 3, 20, -23}, lse.data(), 5}, ws);
    for (std::size_t h = 0; h < 3; ++h) {
      const float* at = out.data() + (2 - h) * 23;
      for (std::size_t c = 0; c < 20; ++c) EXPECT_NEAR(at[c], flat.out(h)[c], 1e-5);
      EXPECT_NEAR(lse[h * 5], flat.lse(h), 1e-5);
      if (grouping == Grouping::kPerGroup) {
        EXPECT_TRUE(same_bits(at, flat.out(h), 20));
      }
      for (std::size_t c = 20; c < 23; ++c) EXPECT_EQ(at[c], 7.0f) << "written between the rows";
      for (std::size_t c = 1; c < 5; ++c) EXPECT_EQ(lse[h * 5 + c], 7.0f) << "written between the lse";
    }
  }
}

}  // namespace
}  // namespace skim::test
