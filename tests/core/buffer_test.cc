// SPDX-License-Identifier: Apache-2.0
#include "skim/core/buffer.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>

namespace {

using skim::Buffer;

Buffer<int> counting(int n) {
  Buffer<int> b;
  for (int i = 0; i < n; ++i) b.push_back(i);
  return b;
}

void expect_counts(const Buffer<int>& b, int n) {
  ASSERT_EQ(b.size(), static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) ASSERT_EQ(b[static_cast<std::size_t>(i)], i);
}

TEST(Buffer, StartsEmptyWithoutMemory) {
  const Buffer<double> b;
  EXPECT_TRUE(b.empty());
  EXPECT_EQ(b.capacity(), 0u);
  EXPECT_EQ(b.data(), nullptr);
  EXPECT_EQ(b.begin(), b.end());
}

TEST(Buffer, GrowthKeepsWhatIsThere) {
  expect_counts(counting(10000), 10000);
  Buffer<int> b = counting(3);
  for (const int size : {5000, 10, 100000, 3}) {
    b.resize(static_cast<std::size_t>(size));
    EXPECT_EQ(b.size(), static_cast<std::size_t>(size));
  }
  expect_counts(b, 3);
}

TEST(Buffer, IsAlignedForVectors) {
  Buffer<char> b;
  for (std::size_t size = 1; size < 100000; size = size * 3 + 1) {
    b.resize(size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b.data()) % 64, 0u) << size;
  }
}

TEST(Buffer, NeverShrinksSoThatItStopsAllocating) {
  Buffer<int> b = counting(1000);
  const int* memory = b.data();
  const std::size_t capacity = b.capacity();
  b.clear();
  EXPECT_TRUE(b.empty());
  b.reserve(1);
  for (int i = 0; i < 1000; ++i) b.push_back(i);
  EXPECT_EQ(b.data(), memory);
  EXPECT_EQ(b.capacity(), capacity);
}

// A cache that grows by one token must not copy itself at each of them.
TEST(Buffer, GrowsInLargeSteps) {
  Buffer<int> b;
  int allocations = 0;
  for (int i = 0; i < 100000; ++i) {
    const std::size_t before = b.capacity();
    b.push_back(i);
    allocations += b.capacity() != before ? 1 : 0;
  }
  EXPECT_LE(allocations, 30);
}

TEST(Buffer, PushBackOfItsOwnElement) {
  Buffer<int> b = counting(1);
  b[0] = 42;
  while (b.size() < 1000) b.push_back(b[b.size() - 1]);
  for (const int x : b) ASSERT_EQ(x, 42);
}

TEST(Buffer, CopiesAreIndependent) {
  const Buffer<int> original = counting(100);
  Buffer<int> copy(original);
  EXPECT_NE(copy.data(), original.data());
  copy[0] = -1;
  expect_counts(original, 100);

  Buffer<int> assigned = counting(3);
  assigned = original;
  expect_counts(assigned, 100);
  const Buffer<int>& itself = assigned;
  assigned = itself;
  expect_counts(assigned, 100);
  assigned = Buffer<int>();
  EXPECT_TRUE(assigned.empty());
  Buffer<int> of_empty{Buffer<int>()};
  EXPECT_TRUE(of_empty.empty());
}

TEST(Buffer, MovesTakeTheMemory) {
  Buffer<int> a = counting(100);
  const int* memory = a.data();
  Buffer<int> b(std::move(a));
  EXPECT_EQ(b.data(), memory);
  Buffer<int> c = counting(5);
  c = std::move(b);
  EXPECT_EQ(c.data(), memory);
  expect_counts(c, 100);
}

TEST(Buffer, SwapExchangesEverything) {
  Buffer<int> a = counting(7), b;
  a.swap(b);
  EXPECT_TRUE(a.empty());
  expect_counts(b, 7);
}

}  // namespace
