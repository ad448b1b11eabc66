// SPDX-License-Identifier: Apache-2.0
// Does the arena hand out its memory once, aligned, and until it is full, whatever the system grants?
// Compiled twice: as it is, and with SKIM_ARENA_PLAIN.
#include "skim/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#include "core/expect_error.h"
#include "skim/core/storage.h"

#if defined(__linux__) && !defined(SKIM_ARENA_PLAIN)
#define MAPS 1
#include <cerrno>
#include <sys/syscall.h>
#include <unistd.h>

// The arena's calls come here; those of the C library go their own way.
namespace {
bool refuse_mapping = false, refuse_advice = false;
}
extern "C" void* mmap(void* at, std::size_t bytes, int protection, int flags, int file,
                      off_t offset) noexcept {
  if (!refuse_mapping)
    return reinterpret_cast<void*>(syscall(SYS_mmap, at, bytes, protection, flags, file, offset));
  errno = ENOMEM;
  return MAP_FAILED;
}
extern "C" int madvise(void* at, std::size_t bytes, int advice) noexcept {
  if (!refuse_advice) return static_cast<int>(syscall(SYS_madvise, at, bytes, advice));
  errno = EINVAL;
  return -1;
}
#else
#define MAPS 0
#endif

namespace {

using skim::Arena;
using skim::test::expect_error;

std::uintptr_t address_of(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }

/// Aligned, writable to its last byte, and a neighbour to nobody: what every arena must be.
void expect_sound(Arena& arena) {
  EXPECT_EQ(address_of(arena.data()) % Arena::kHugePage, 0u);
  const std::size_t third = arena.size() / 3 / Arena::kAlign * Arena::kAlign;
  std::span<std::byte> parts[3];
  for (auto& part : parts) part = arena.allocate<std::byte>(third);
  for (int i = 0; i < 3; ++i) std::fill(parts[i].begin(), parts[i].end(), std::byte(i + 1));
  arena.touch();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(address_of(parts[i].data()) % Arena::kAlign, 0u);
    EXPECT_TRUE(std::all_of(parts[i].begin(), parts[i].end(),
                            [i](std::byte b) { return b == std::byte(i + 1); }));
  }
  EXPECT_EQ(arena.used(), 3 * third);
}

TEST(Arena, AnySizeIsAlignedAndWritable) {
  for (const std::size_t size : {std::size_t{1}, std::size_t{4096}, Arena::kHugePage - 1,
                                 Arena::kHugePage, Arena::kHugePage + 1, 5 * Arena::kHugePage + 4097}) {
    Arena arena(size);
    EXPECT_EQ(arena.size(), size);
    arena.data()[size - 1] = std::byte{7};
    expect_sound(arena);
  }
}

TEST(Arena, ArraysAreAlignedAndApart) {
  Arena arena(1000);
  const auto keys = arena.allocate<skim::BF16>(3);
  const auto values = arena.allocate<float>(5);
  const auto byte = arena.allocate<char>(1);
  EXPECT_EQ(address_of(keys.data()), address_of(arena.data()));
  EXPECT_EQ(address_of(values.data()), address_of(arena.data()) + 64);
  EXPECT_EQ(address_of(byte.data()), address_of(arena.data()) + 128);
  EXPECT_EQ(arena.used(), 129u);
  static_assert(std::is_same_v<decltype(keys), const std::span<skim::BF16>>);
  EXPECT_EQ(keys.size(), 3u);
}

TEST(Arena, FullIsAnErrorWithBothNumbers) {
  Arena arena(1024);
  EXPECT_EQ(arena.allocate<float>(240).size(), 240u);  // 960 bytes
  expect_error([&] { arena.allocate<double>(9); }, {"9 values of 8 bytes", "64 bytes are left"});
  EXPECT_EQ(arena.used(), 960u) << "a refusal takes nothing";
  EXPECT_EQ(arena.allocate<double>(8).size(), 8u);
  expect_error([&] { arena.allocate<char>(1); }, {"1 values of 1 bytes", "0 bytes are left"});
  EXPECT_TRUE(arena.allocate<double>(0).empty());
}

TEST(Arena, WhatIsLeftCountsFromTheNextAlignedByte) {
  for (const std::size_t size : {65u, 100u, 128u}) {
    Arena arena(size);
    arena.allocate<char>(1);
    expect_error([&] { arena.allocate<char>(size - 63); }, {"bytes are left"});
    EXPECT_EQ(arena.allocate<char>(size - 64).size(), size - 64);
  }
  Arena arena(60);  // the gap would lie beyond the end
  arena.allocate<char>(1);
  expect_error([&] { arena.allocate<char>(1); }, {"0 bytes are left"});
}

TEST(Arena, SizesThatOverflow) {
  Arena arena(4096);
  for (const std::size_t count : {SIZE_MAX, SIZE_MAX / 8 + 1, SIZE_MAX / 4, SIZE_MAX / 2 + 2}) {
    expect_error([&] { arena.allocate<double>(count); }, {"4096 bytes are left"});
  }
  for (const std::size_t size : {SIZE_MAX, SIZE_MAX - Arena::kHugePage, SIZE_MAX / 2, SIZE_MAX / 4}) {
    volatile std::size_t hidden = size;  // g++ knows that it cannot be had
    EXPECT_THROW(Arena{hidden}, std::bad_alloc) << size;
  }
}

TEST(Arena, NothingIsAnArenaToo) {
  Arena none, of_no_bytes(0);
  for (Arena* const each : {&none, &of_no_bytes}) {
    Arena& arena = *each;
    EXPECT_EQ(arena.size(), 0u);
    EXPECT_FALSE(arena.advised());
    arena.touch();
    EXPECT_TRUE(arena.allocate<float>(0).empty());
    expect_error([&] { arena.allocate<float>(1); }, {"1 values of 4 bytes", "0 bytes are left"});
  }
}

TEST(Arena, MovesWithItsArrays) {
  static_assert(!std::is_copy_constructible_v<Arena> && !std::is_copy_assignable_v<Arena>);
  static_assert(std::is_nothrow_move_constructible_v<Arena> &&
                std::is_nothrow_move_assignable_v<Arena>);
  Arena first(4096);
  const auto numbers = first.allocate<int>(10);
  numbers[9] = 42;
  const bool advised = first.advised();

  Arena second(std::move(first));
  EXPECT_EQ(first.size(), 0u);
  EXPECT_EQ(first.data(), nullptr);
  EXPECT_EQ(second.size(), 4096u);
  EXPECT_EQ(second.used(), 40u);
  EXPECT_EQ(second.advised(), advised);

  Arena third(100);
  third.allocate<char>(100);
  third = std::move(second);
  EXPECT_EQ(second.size(), 0u) << "its old memory is given back at once";
  EXPECT_EQ(address_of(third.data()), address_of(numbers.data()));
  EXPECT_EQ(numbers[9], 42);
  EXPECT_EQ(third.allocate<int>(1).data(), numbers.data() + 16);
  third = Arena();
  EXPECT_EQ(third.size(), 0u);
}

TEST(Arena, TouchChangesNoArray) {
  Arena arena(3 * 4096 + 5);
  const auto bytes = arena.allocate<unsigned char>(4096 + 9);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i % 251);
  arena.touch();
  arena.touch();
  for (std::size_t i = 0; i < bytes.size(); ++i) ASSERT_EQ(bytes[i], i % 251);
}

#if MAPS
TEST(Arena, MemoryNobodyTouchedTakesNone) {
  Arena arena(std::size_t{1} << 30);  // more than a test should take, were it real
  const auto far = arena.allocate<char>(arena.size()).last(1);
  EXPECT_EQ(far[0], 0);
}

TEST(Arena, ASystemThatRefusesHugePagesGivesSmallOnes) {
  refuse_advice = true;
  Arena arena(3 * Arena::kHugePage);
  refuse_advice = false;
  EXPECT_FALSE(arena.advised());
  expect_sound(arena);
}

TEST(Arena, ASystemThatRefusesToMapLeavesNew) {
  refuse_mapping = true;
  Arena arena(3 * Arena::kHugePage);
  refuse_mapping = false;
  EXPECT_FALSE(arena.advised());
  expect_sound(arena);
  Arena other(Arena::kHugePage);
  other = std::move(arena);  // each is given back the way it came
  EXPECT_EQ(other.size(), 3 * Arena::kHugePage);
}
#else
TEST(Arena, PlainMemoryIsNotAdvised) { EXPECT_FALSE(Arena(Arena::kHugePage).advised()); }
#endif

}  // namespace
