// SPDX-License-Identifier: Apache-2.0
// Whether rows share memory, against looking at every byte.
#include "skim/core/overlap.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

namespace {

using skim::memory_of;
using skim::Rows;

std::set<std::size_t> bytes_of(const Rows<const float>& x, const float* origin) {
  std::set<std::size_t> bytes;
  for (std::size_t r = 0; r < x.rows; ++r) {
    for (std::size_t c = 0; c < x.cols; ++c) bytes.insert(static_cast<std::size_t>(x.row(r) + c - origin));
  }
  return bytes;
}

TEST(Overlap, IsExact) {
  const std::vector<float> memory(400);
  const float* middle = memory.data() + 200;
  std::mt19937_64 random(1);
  const auto any = [&](std::size_t most) {
    return Rows<const float>{middle + static_cast<std::ptrdiff_t>(random() % 40) - 20, random() % most, 1 + random() % 4,
                             static_cast<std::ptrdiff_t>(random() % 19) - 9};
  };
  std::size_t apart = 0, together = 0;
  for (int i = 0; i < 200000; ++i) {
    const auto a = any(12);
    auto b = any(12);
    if (i % 3 == 0) b.stride = a.stride;
    const auto of_a = bytes_of(a, memory.data()), of_b = bytes_of(b, memory.data());
    bool meet = false;
    for (const std::size_t x : of_a) meet = meet || of_b.contains(x);
    ASSERT_EQ(skim::overlap(a, b), meet) << a.rows << " of " << a.cols << " each " << a.stride << ", " << b.rows << " of "
                                         << b.cols << " each " << b.stride << ", " << b.data - a.data << " further on";
    (meet ? together : apart) += 1;
  }
  EXPECT_GT(apart, 20000u);
  EXPECT_GT(together, 20000u);
}

// Quantised rows are longer than their columns, and types may differ.
TEST(Overlap, CountsBytes) {
  alignas(4) std::byte memory[64];
  auto* bytes = reinterpret_cast<skim::I8*>(memory);
  const Rows<const skim::I8> quantised{bytes, 2, 8};  // with their scales: 24 bytes
  EXPECT_TRUE(skim::overlap(quantised, Rows<const float>{reinterpret_cast<const float*>(memory + 20), 1, 1}));
  EXPECT_FALSE(skim::overlap(quantised, Rows<const float>{reinterpret_cast<const float*>(memory + 24), 1, 1}));
}

}  // namespace
