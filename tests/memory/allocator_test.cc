// SPDX-License-Identifier: Apache-2.0
// Replaces operator new with one that counts and fails when it is told to, and checks that it does.
#include "memory/allocator.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <vector>

#include "skim/core/buffer.h"

namespace {

constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();
std::atomic<std::size_t> count{0}, fails_at{kNever};

void* counted(std::size_t size, std::size_t alignment) {
  if (count++ == fails_at) {
    fails_at = kNever;
    throw std::bad_alloc();
  }
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;
  if (whole < size) throw std::bad_alloc();
  void* memory = alignment <= alignof(std::max_align_t) ? std::malloc(size == 0 ? 1 : size)
                                                        : std::aligned_alloc(alignment, whole == 0 ? alignment : whole);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// The array and nothrow forms call these. Not inlined: g++ would see malloc or free alone, and warn of it.
#define SKIM_TEST_APART __attribute__((noinline))
void* operator new(std::size_t size) { return counted(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<std::size_t>(alignment));
}
SKIM_TEST_APART void operator delete(void* memory) noexcept { std::free(memory); }
SKIM_TEST_APART void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
SKIM_TEST_APART void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
SKIM_TEST_APART void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace skim::test {

std::size_t allocations() { return count; }
void fail_allocation_after(std::size_t more) { fails_at = count + more; }
bool forgive_allocations() { return fails_at.exchange(kNever) == kNever; }

namespace {

TEST(Allocator, CountsAndFails) {
  const std::size_t before = allocations();
  const auto one = std::make_unique<int>(1);
  Buffer<double> aligned;
  aligned.resize(100);
  EXPECT_EQ(allocations(), before + 2);
  std::vector<std::size_t> failed;
  for_each_failing_allocation([] {}, [] { Buffer<int> a, b; a.resize(5); b.resize(5); },
                              [&](std::size_t i) { failed.push_back(i); });
  EXPECT_EQ(failed, (std::vector<std::size_t>{0, 1}));
}

TEST(Allocator, ABufferThatCannotGrowIsTheOneItWas) {
  Buffer<int> buffer;
  for (int i = 0; i < 10; ++i) buffer.push_back(i);
  Buffer<int> other;
  other.push_back(7);
  const auto is_old = [&](std::size_t) {
    ASSERT_EQ(buffer.size(), 10u);
    for (std::size_t i = 0; i < 10; ++i) ASSERT_EQ(buffer[i], static_cast<int>(i));
    ASSERT_EQ(other.size(), 1u);
    ASSERT_EQ(other[0], 7);
  };
  Buffer<int> fresh = buffer;
  for_each_failing_allocation([&] { buffer = Buffer<int>(fresh); }, [&] { buffer.reserve(1000); }, is_old);
  for_each_failing_allocation([&] { buffer = Buffer<int>(fresh); }, [&] { buffer.reserve_exactly(1000); }, is_old);
  for_each_failing_allocation([&] { buffer = Buffer<int>(fresh); }, [&] { buffer.resize(1000); }, is_old);
  for_each_failing_allocation([&] { buffer = Buffer<int>(fresh); other = Buffer<int>(); other.push_back(7); },
                              [&] { other = fresh; }, is_old);
}

}  // namespace
}  // namespace skim::test
