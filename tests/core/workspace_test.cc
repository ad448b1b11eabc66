// SPDX-License-Identifier: Apache-2.0
#include "skim/core/workspace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

namespace {

using skim::Workspace;

TEST(Workspace, IsAlignedForVectors) {
  Workspace ws;
  for (std::size_t count = 1; count < 100000; count = 3 * count + 1) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(ws.get<float>(Workspace::kLogits, count)) % 64, 0u)
        << count;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(ws.get<double>(Workspace::kUser, count)) % 64, 0u)
        << count;
  }
}

TEST(Workspace, GrowsToAHighWaterMarkThenStays) {
  Workspace ws;
  const void* large = ws.get<double>(Workspace::kRanks, 10000);
  for (const std::size_t count : {1u, 10000u, 0u, 9999u, 10000u}) {
    EXPECT_EQ(ws.get<double>(Workspace::kRanks, count), large) << count;
  }
  EXPECT_EQ(static_cast<const void*>(ws.get<char>(Workspace::kRanks, 80000)), large)
      << "types do not matter, bytes do";
}

// Every slot holds its own memory, also after others have grown.
TEST(Workspace, SlotsDoNotTouch) {
  Workspace ws;
  constexpr std::size_t kCount = 1000;
  std::uint8_t* memory[Workspace::kSlots];
  for (int slot = 0; slot < Workspace::kSlots; ++slot) {
    memory[slot] = ws.get<std::uint8_t>(static_cast<Workspace::Slot>(slot), kCount);
    std::fill_n(memory[slot], kCount, static_cast<std::uint8_t>(slot));
  }
  ws.get<double>(Workspace::kLogits, 100000);
  for (int slot = 0; slot < Workspace::kSlots; ++slot) {
    if (slot == Workspace::kLogits) continue;
    EXPECT_TRUE(std::all_of(memory[slot], memory[slot] + kCount, [=](std::uint8_t x) {
      return x == slot;
    })) << slot;
  }
}

TEST(Workspace, StartsWithoutKnowledge) {
  const Workspace ws;
  EXPECT_EQ(ws.asked.query, nullptr);
  EXPECT_EQ(ws.asked.logits, nullptr);
  EXPECT_FALSE(ws.asked.is_of(nullptr, nullptr));
  EXPECT_TRUE(ws.selection.spans().empty());
  EXPECT_TRUE(ws.selection.picks().empty());
}

}  // namespace
