// SPDX-License-Identifier: Apache-2.0
// Is an index for which there is no memory the one it was, wherever that happens; does one that is reserved ask for none?
#include <random>
#include <string>
#include <vector>

#include "memory/allocator.h"
#include "support/any_index.h"

namespace skim::test {
namespace {

constexpr std::size_t kN = 5300, kD = 4;

/// Keys of which some, and a whole run, have no sketch, no mean and no hash.
Problem<float> some_problem() {
  auto p = random_problem<float>({kN, kD, 3, 1}, 1);
  for (std::size_t i = 5; i < kN; i += 100) fill_row(row_at(p.keys, i, kD), kD, kNan);
  for (std::size_t i = 2000; i < 2600; ++i) fill_row(row_at(p.keys, i, kD), kD, kNan);
  return p;
}

template <class Index>
struct IndexMemory : testing::Test {
  Problem<float> p = some_problem();
  Index fresh(Position n) const { return index_of_all<Index>(first_positions(p, n)); }
};
TYPED_TEST_SUITE(IndexMemory, AllIndexes);

TYPED_TEST(IndexMemory, AnAppendThatFailsChangesNothing) {
  for (const Position size : {0, 300, 1023, 2303, 4095}) {
    const TypeParam before = this->fresh(size);
    for (const Position from : {Position{0}, size / 2, size}) {
      for (const Position to : {size + 1, Position{kN}}) {
        const TypeParam after = this->fresh(to);
        TypeParam index = before;
        for_each_failing_allocation([&] { index = TypeParam(before); },
                                    [&] { append(index, first_positions(this->p, to), from); }, [&](std::size_t count) {
          ASSERT_TRUE(same_index(index, before)) << size << " from " << from << " to " << to << ", allocation " << count;
        });
        ASSERT_TRUE(same_index(index, after)) << size << " from " << from << " to " << to;
      }
    }
  }
}

TYPED_TEST(IndexMemory, ATruncateThatFailsChangesNothing) {
  const TypeParam before = this->fresh(kN);
  for (const Position to : {5200, 4095, 3000, 2048, 1500, 1023, 100, 0}) {
    TypeParam index = before;
    for_each_failing_allocation([&] { index = TypeParam(before); }, [&] { truncate(index, this->p.kv(), to); },
                                [&](std::size_t) { ASSERT_TRUE(same_index(index, before)) << to; });
    ASSERT_TRUE(same_index(index, this->fresh(to))) << to;
  }
}

TYPED_TEST(IndexMemory, AReserveThatFailsChangesNothing) {
  const TypeParam before = this->fresh(3000);
  TypeParam index = before;
  for_each_failing_allocation([&] { index = TypeParam(before); }, [&] { reserve_index(index, 50000, kD, 3); },
                              [&](std::size_t) { ASSERT_TRUE(same_index(index, before)); });
  EXPECT_TRUE(same_index(index, before));
}

TYPED_TEST(IndexMemory, ACopyIsWholeOrNotMade) {
  const TypeParam before = this->fresh(1100), other = this->fresh(kN);
  TypeParam index = before;
  for_each_failing_allocation([&] { index = TypeParam(before); }, [&] { index = other; },
                              [&](std::size_t) { ASSERT_TRUE(same_index(index, before)); });
  EXPECT_TRUE(same_index(index, other));
}

TYPED_TEST(IndexMemory, VerifyMayFailAndMayBeAskedAgain) {
  const TypeParam index = this->fresh(kN);
  for_each_failing_allocation([] {}, [&] { verify(index, this->p.kv()); }, [](std::size_t) {});
  verify(index, this->p.kv());
}

/// An estimator that goes by an index of this type.
template <class Index>
StageList by() {
  if constexpr (std::is_same_v<Index, LshTables>) return parse("lsh(3,3)");
  else return parse("topk(5,by=" + std::string(name_of(Index::kSource)) + ")");
}

// Of all steps, however long an index lives: one position at a time, many, and truncates to anywhere; a tenth of the steps
// attends. Keys are partly such as no index can hold, and everything is forgotten and comes again.
TYPED_TEST(IndexMemory, ReservedItNeverAllocates) {
  constexpr Position kMost = 2700;
  TypeParam index = make_index<TypeParam>(kD);
  reserve_index(index, kMost, kD, 3);
  const StageList estimator = by<TypeParam>();
  Workspace ws;
  reserve({&ws, 1}, estimator, {.positions = kMost, .d = kD, .d_v = 3, .lsh_tables = 3});
  State state(1, 3);
  std::mt19937_64 generator(1);
  const auto below = [&](Position bound) { return static_cast<Position>(generator() % static_cast<std::uint64_t>(bound)); };
  const auto whole = first_positions(this->p, kMost);
  const std::size_t before = allocations();
  Position n = 0;
  for (int step = 0; step < 100000; ++step) {
    const Position kind = below(1000);
    auto kv = whole;
    if (kind < 3 || n == kMost) {
      n = below(n + 1);
      truncate(index, kv, n);
    } else {
      const Position from = kind < 20 ? std::max<Position>(0, n - below(70)) : n;
      n = std::min(kMost, kind < 10 ? n + below(1500) : n + 1);
      kv.keys.rows = kv.values.rows = static_cast<std::size_t>(n);
      append(index, kv, from);
    }
    if (step % 10 != 0) continue;
    kv.keys.rows = kv.values.rows = static_cast<std::size_t>(n);
    attend(estimator, this->p.query(), with_index(kv, index), state.view(), ws);
  }
  EXPECT_EQ(allocations(), before);
  EXPECT_TRUE(same_index(index, this->fresh(n)));
}

}  // namespace
}  // namespace skim::test
