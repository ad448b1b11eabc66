// SPDX-License-Identifier: Apache-2.0
#include "skim/kernel/block-inl.h"

#include <gtest/gtest.h>

#include "support/layouts.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Every run of every length that fits: the rows of the block are those the KV head names.
template <class Kv>
void expect_runs(const Kv& kv) {
  for (Position first = 0; first < kv.size(); ++first) {
    for (std::size_t count = 1; count <= kBlock && first + static_cast<Position>(count) <= kv.size();
         ++count) {
      Block<Kv> block;
      fill_run(kv, first, count, block);
      ASSERT_EQ(block.count, count);
      for (std::size_t t = 0; t < kBlock; ++t) {
        // Beyond the last: the last one again, which may be read.
        const Position expected = first + static_cast<Position>(std::min(t, count - 1));
        ASSERT_EQ(block.positions[t], expected)
            << "entry " << t << " of " << count << " from " << first;
        ASSERT_EQ(block.keys[t], kv.key(expected))
            << "entry " << t << " of " << count << " from " << first;
        ASSERT_EQ(block.values[t], kv.value(expected))
            << "entry " << t << " of " << count << " from " << first;
      }
    }
  }
}

TEST(FillRun, Contiguous) {
  const auto p = test::random_problem<F16, float>({50, 5, 3}, 1);
  expect_runs(p.kv());
  expect_runs(test::Strided(p, 2, 7).kv());
}

TEST(FillRun, Paged) {
  const auto p = test::random_problem<F16, float>({50, 5, 3}, 1);
  for (const std::size_t page_size : {1u, 2u, 3u, 15u, 16u, 17u, 50u, 256u}) {
    expect_runs(test::InPages(p, page_size, test::Adjacency::kApart).kv());
    expect_runs(test::InPages(p, page_size, test::Adjacency::kAdjacent).kv());
  }
}

// A run that ends with the last page must not look at the entry of the table after it.
TEST(FillRun, StopsAtTheEndOfTheTable) {
  const float memory[8] = {};
  const auto table =
      std::make_unique<std::int32_t[]>(2);  // exactly as long: a read beyond is an error under ASan
  table[0] = 1;
  table[1] = 0;
  const PagedKv<float> kv{8, 4, {table.get(), 2}, 2, {memory, 1, 4, 1}, {memory, 1, 4, 1}};
  Block<PagedKv<float>> block;
  fill_run(kv, 4, 4, block);
  EXPECT_EQ(block.keys[3], memory + 3);
  EXPECT_EQ(block.keys[15], memory + 3);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
