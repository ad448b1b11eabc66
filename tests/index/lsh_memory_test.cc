// SPDX-License-Identifier: Apache-2.0
// Do LSH tables survive that memory runs out, wherever it does?
#include <cstdlib>
#include <limits>
#include <new>

#include <gtest/gtest.h>

#include "support/indexes.h"
#include "support/layouts.h"

namespace {

constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();
std::size_t left = kNever;  // aligned allocations, those of a Buffer, until none succeeds

}  // namespace

void* operator new(std::size_t size, std::align_val_t alignment) {
  if (left == 0) throw std::bad_alloc();
  if (left != kNever) --left;
  const auto unit = static_cast<std::size_t>(alignment);
  void* memory = std::aligned_alloc(unit, (size + unit) / unit * unit);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace skim::test {
namespace {

constexpr std::size_t kN = 5300;

struct LshMemory : testing::Test {
  Problem<float> p = random_problem<float>({kN, 4, 1, 1}, 1);
  std::shared_ptr<const LshPlanes> planes = std::make_shared<const LshPlanes>(4, 3, 3, 1);

  LshMemory() {
    for (std::size_t i = 5; i < kN; i += 100) fill_row(row_at(p.keys, i, 4), 4, kNan);
  }
  ContiguousKv<float> first(Position n) const {
    auto kv = p.kv();
    kv.keys.rows = kv.values.rows = static_cast<std::size_t>(n);
    return kv;
  }
  LshTables fresh(Position n) const {
    LshTables tables(planes, 2048);
    append(tables, first(n));
    return tables;
  }
};

/// Whether `call` had enough memory when `most` allocations succeed.
template <class Call>
bool succeeds_with(std::size_t most, const Call& call) {
  left = most;
  bool enough = true;
  try {
    call();
  } catch (const std::bad_alloc&) {
    enough = false;
  }
  left = kNever;
  return enough;
}

TEST_F(LshMemory, AppendedToAgainTheyAreFresh) {
  for (const Position from : {0, 300, 1023, 2047, 2048 + 255, 4095}) {
    for (const Position to : {from + 1, Position{kN}}) {
      const LshTables before = fresh(from), after = fresh(to);
      for (std::size_t most = 0;; ++most) {
        LshTables tables = before;
        const bool enough = succeeds_with(most, [&] { append(tables, first(to), from); });
        ASSERT_GE(tables.size(), from) << "what was there is there";
        ASSERT_LE(tables.size(), to);
        if (!enough) append(tables, first(to));
        ASSERT_TRUE(same_tables(tables, after)) << from << " to " << to << ", " << most << " allocations";
        if (enough) break;
      }
    }
  }
}

// The part of a whole segment cannot be made, and no later part is larger.
TEST_F(LshMemory, APartThatCouldNotBeMadeIsMadeLater) {
  for (const Position missed : {1024, 2048, 3072, 4096}) {
    LshTables without = fresh(missed - 1);
    std::size_t most = 0;  // as many as hash the last keys, and not the part's
    while (without.hashed() < missed) {
      without = fresh(missed - 1);
      ASSERT_FALSE(succeeds_with(most++, [&] { append(without, first(missed)); })) << "or the test is of nothing";
    }
    ASSERT_LT(without.in_parts(), missed);
    EXPECT_EQ(without.size(), missed);
    for (Position n = missed + 1; n <= 5300; ++n) append(without, first(n));
    EXPECT_TRUE(same_tables(without, fresh(5300))) << missed;
  }
}

TEST_F(LshMemory, ATruncateThatFailsChangesNothing) {
  const LshTables before = fresh(kN);
  for (const Position to : {5200, 4095, 3000, 2048, 1500, 1023, 100}) {
    for (std::size_t most = 0;; ++most) {
      LshTables tables = before;
      const bool enough = succeeds_with(most, [&] { truncate(tables, p.kv(), to); });
      ASSERT_TRUE(same_tables(tables, enough ? fresh(to) : before)) << to << ", " << most << " allocations";
      if (enough) break;
    }
  }
}

}  // namespace
}  // namespace skim::test
