// SPDX-License-Identifier: Apache-2.0
// Replaces operator new with one that counts, and checks that it does.
#include "laws/allocations.h"

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include <gtest/gtest.h>

#include "skim/core/buffer.h"

namespace {

std::atomic<std::size_t> count{0};

void* counted(std::size_t size, std::size_t alignment) {
  ++count;
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;
  void* memory = alignment <= alignof(std::max_align_t) ? std::malloc(size == 0 ? 1 : size)
                                                        : std::aligned_alloc(alignment, whole == 0 ? alignment : whole);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// The array and nothrow forms call these.
void* operator new(std::size_t size) { return counted(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace skim::test {

std::size_t allocations() { return count; }

namespace {

TEST(Allocations, AreCounted) {
  std::size_t before = allocations();
  const auto one = std::make_unique<int>(1);
  EXPECT_EQ(allocations(), before + 1);
  before = allocations();
  std::vector<double> many(100);
  EXPECT_EQ(allocations(), before + 1);
  before = allocations();
  Buffer<double> aligned;
  aligned.resize(100);
  EXPECT_EQ(allocations(), before + 1);
}

}  // namespace
}  // namespace skim::test
