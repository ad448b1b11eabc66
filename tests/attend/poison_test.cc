// SPDX-License-Identifier: Apache-2.0
// Does what was not selected have no effect, not one bit, whatever is in it?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

constexpr float kPoisons[] = {NAN, INFINITY, -INFINITY};

/// Poisons the rows that `selection` does not hold.
template <class T>
void poison(std::vector<T>& rows, std::size_t cols, const Selection& selection, float with) {
  const std::size_t n = rows.size() / row_values<T>(cols);
  std::vector<bool> selected(n);
  for (const Weighted& w : list_of(selection)) selected[static_cast<std::size_t>(w.position)] = true;
  for (std::size_t i = 0; i < n; ++i) {
    if (!selected[i]) fill_row(row_at(rows, i, cols), cols, with);
  }
}

enum class Reads { kNothing, kKeysForOrder, kKeysForWeights };

template <class K, class E>
void expect_no_effect(const E& estimator, Reads reads) {
  const auto p = random_problem<K, K>({300, 24, 20, 4}, 1);
  const auto query = p.query();
  const Selection selection = select(estimator, query, p.kv());
  ASSERT_LT(list_of(selection).size(), 300u);
  State expected = attend(estimator, query, p.kv());
  const auto expect_same = [&](const Problem<K>& poisoned) {
    State state = attend(estimator, query, poisoned.kv());
    EXPECT_TRUE(same_bits(state.out(), expected.out(), 4 * 20));
    EXPECT_TRUE(same_bits(state.view().lse, expected.view().lse, 4));
    const InPages<K, K> pages(poisoned, 16, Adjacency::kAdjacent);
    state = attend(estimator, query, pages.kv());
    EXPECT_TRUE(same_bits(state.out(), expected.out(), 4 * 20)) << "in pages";
  };
  for (const float with : kPoisons) {
    SCOPED_TRACE(testing::Message() << "poison " << with);
    auto poisoned = p;
    poison(poisoned.values, 20, selection, with);
    expect_same(poisoned);
    // A NaN key has no logit to be selected by. (For a sampler the keys that were not selected count too.)
    if (reads == Reads::kNothing || (reads == Reads::kKeysForOrder && std::isnan(with))) {
      poison(poisoned.keys, 24, selection, with);
      expect_same(poisoned);
    }
  }
}

template <class K>
struct Poison : testing::Test {};
using Storages = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(Poison, Storages);

TYPED_TEST(Poison, Sinks) { expect_no_effect<TypeParam>(Sinks{5}, Reads::kNothing); }
TYPED_TEST(Poison, Window) { expect_no_effect<TypeParam>(Window{33}, Reads::kNothing); }
TYPED_TEST(Poison, Uniform) { expect_no_effect<TypeParam>(UniformTail{20}, Reads::kNothing); }
TYPED_TEST(Poison, TopK) { expect_no_effect<TypeParam>(TopK{20}, Reads::kKeysForOrder); }
TYPED_TEST(Poison, Priority) { expect_no_effect<TypeParam>(PriorityTail{20}, Reads::kKeysForWeights); }
TYPED_TEST(Poison, Stack) {
  expect_no_effect<TypeParam>(stack(Sinks{4}, Window{17}, TopK{9}), Reads::kKeysForOrder);
}

// The rest of the last page, of a page's padding, and pages of the pool that are not in the table.
TYPED_TEST(Poison, PageTails) {
  for (const std::size_t n : {1u, 15u, 17u, 255u, 257u}) {
    const auto p = random_problem<TypeParam>({n, 24, 20, 4}, n);
    State flat = attend(Dense{}, p.query(), p.kv());
    for (const Adjacency adjacency : {Adjacency::kApart, Adjacency::kAdjacent}) {
      const InPages<TypeParam, TypeParam> pages(p, 256, adjacency);  // filled up with NaN
      State state = attend(Dense{}, p.query(), pages.kv());
      EXPECT_TRUE(same_bits(state.out(), flat.out(), 4 * 20));
      EXPECT_TRUE(same_bits(state.view().lse, flat.view().lse, 4));
    }
  }
}

// What is between the rows.
TYPED_TEST(Poison, Padding) {
  const auto p = random_problem<TypeParam>({50, 21, 13, 4}, 2);
  const Strided<TypeParam, TypeParam> strided(p, 11, 19);  // filled up with NaN
  State flat = attend(Dense{}, p.query(), p.kv()), state = attend(Dense{}, p.query(), strided.kv());
  EXPECT_TRUE(same_bits(state.out(), flat.out(), 4 * 13));
}

}  // namespace
}  // namespace skim::test
