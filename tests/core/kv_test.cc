// SPDX-License-Identifier: Apache-2.0
#include "skim/core/kv.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <type_traits>
#include <vector>

#include "skim/core/storage.h"

namespace {

using skim::BF16;
using skim::ContiguousKv;
using skim::F16;
using skim::PagedKv;
using skim::Pages;
using skim::Position;
using skim::Rows;

static_assert(skim::KvHead<ContiguousKv<float>> && skim::KvHead<ContiguousKv<F16, float>>);
static_assert(skim::KvHead<PagedKv<BF16>> && skim::KvHead<PagedKv<float, BF16>>);
static_assert(!skim::KvHead<Rows<float>>);

TEST(ContiguousKv, KeysAndValuesHaveTheirOwnShape) {
  const std::vector<F16> keys(5 * 4);
  const std::vector<float> values(5 * 10);
  const ContiguousKv<F16, float> kv{{keys.data(), 5, 4}, {values.data(), 5, 7, 10}};
  EXPECT_EQ(kv.size(), 5);
  EXPECT_EQ(kv.key_dim(), 4u);
  EXPECT_EQ(kv.value_dim(), 7u);
  EXPECT_EQ(kv.key(3), keys.data() + 12);
  EXPECT_EQ(kv.value(3), values.data() + 30);
}

TEST(ContiguousKv, TypesFollowFromTheRows) {
  float* k = nullptr;
  const F16* v = nullptr;
  const ContiguousKv kv{Rows<float>{k, 0, 1}, Rows<const F16>{v, 0, 1}};
  static_assert(std::is_same_v<decltype(kv), const ContiguousKv<float, F16>>);
  EXPECT_EQ(kv.size(), 0);
}

TEST(ContiguousKv, RowsMayBeInterleaved) {
  const std::vector<float> memory(6 * (4 + 3));
  const ContiguousKv<float> kv{{memory.data(), 6, 4, 7}, {memory.data() + 4, 6, 3, 7}};
  for (Position i = 0; i < 6; ++i) {
    EXPECT_EQ(kv.key(i) - memory.data(), 7 * i);
    EXPECT_EQ(kv.value(i) - memory.data(), 7 * i + 4);
  }
}

TEST(PagedKv, EveryPositionIsWhereItsPageIs) {
  std::mt19937 random(1);
  for (const std::size_t page_size : {1u, 3u, 16u, 256u}) {
    for (const std::size_t n :
         {std::size_t{1}, page_size, page_size + 1, 5 * page_size - 1, std::size_t{300}}) {
      const std::size_t pages = (n + page_size - 1) / page_size;
      std::vector<std::int32_t> pool(pages + 3);
      std::iota(pool.begin(), pool.end(), 0);
      std::shuffle(pool.begin(), pool.end(), random);
      // Keys and values of a page apart in one pool: page_size keys of 3, then as many values of 2.
      const std::vector<float> memory(pool.size() * page_size * 5);
      PagedKv<float> kv;
      kv.n = n;
      kv.page_size = page_size;
      kv.table = std::span(pool).first(pages);
      kv.pool_pages = pool.size();
      const auto page_stride = static_cast<std::ptrdiff_t>(page_size * 5);
      kv.keys = {memory.data(), 3, page_stride};
      kv.values = {memory.data() + page_size * 3, 2, page_stride};

      std::size_t page = 0, row = 0;  // walked without a division
      for (Position i = 0; i < kv.size(); ++i) {
        const std::size_t at = static_cast<std::size_t>(pool[page]) * page_size * 5;
        ASSERT_EQ(kv.key(i), memory.data() + at + row * 3) << i;
        ASSERT_EQ(kv.value(i), memory.data() + at + page_size * 3 + row * 2) << i;
        if (++row == page_size) {
          row = 0;
          ++page;
        }
      }
      EXPECT_EQ(kv.key_dim(), 3u);
      EXPECT_EQ(kv.value_dim(), 2u);
    }
  }
}

TEST(Pages, RowsAreDenseUnlessSaidOtherwise) {
  const std::vector<float> memory(1000);
  const Pages<float> dense{memory.data(), 4, 100};
  EXPECT_EQ(dense.row(2, 3), memory.data() + 2 * 100 + 3 * 4);
  const Pages<float> spread{memory.data(), 4, 100, 9};
  EXPECT_EQ(spread.row(2, 3), memory.data() + 2 * 100 + 3 * 9);
}

// Page 3 of a pool with pages of 2^30 elements: no 32-bit product on the way.
TEST(Pages, OffsetsDoNotFitIn32Bits) {
  const Pages<char> pages{nullptr, 1, std::ptrdiff_t{1} << 30};
  const auto at = reinterpret_cast<std::uintptr_t>(
      Pages<char>{reinterpret_cast<const char*>(64), 1, pages.page_stride}.row(3, 5));
  EXPECT_EQ(at, 64 + 3 * (std::uintptr_t{1} << 30) + 5);
}

}  // namespace
