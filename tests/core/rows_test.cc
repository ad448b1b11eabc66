// SPDX-License-Identifier: Apache-2.0
#include "skim/core/rows.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <vector>

namespace {

using skim::Rows;

TEST(Rows, AreDenseUnlessSaidOtherwise) {
  float memory[6] = {};
  const Rows<float> m{memory, 2, 3};
  EXPECT_EQ(m.stride, 3);
  EXPECT_EQ(m.row(0), memory);
  EXPECT_EQ(m.row(1), memory + 3);
}

TEST(Rows, AnyStride) {
  const std::vector<float> memory(100);
  const Rows<const float> padded{memory.data(), 10, 7, 10};
  EXPECT_EQ(padded.row(9), memory.data() + 90);
  const Rows<const float> repeated{memory.data() + 5, 1000, 7, 0};
  EXPECT_EQ(repeated.row(999), memory.data() + 5);
  const Rows<const float> backwards{memory.data() + 90, 10, 10, -10};
  EXPECT_EQ(backwards.row(9), memory.data());
}

// Offsets beyond 2^31 elements, in 16 GiB of address space of which two pages are touched.
TEST(Rows, OffsetsDoNotFitIn32Bits) {
  constexpr std::size_t kBytes = std::size_t{16} << 30;
  void* space =
      mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (space == MAP_FAILED) GTEST_SKIP() << "this machine does not give 16 GiB of address space";
  const Rows<float> m{static_cast<float*>(space), 3, 8, (std::ptrdiff_t{1} << 30) + 12345};
  *m.row(2) = 3.0f;
  EXPECT_EQ(static_cast<float*>(space)[(std::size_t{1} << 31) + 2 * 12345], 3.0f);
  munmap(space, kBytes);
}

}  // namespace
