// SPDX-License-Identifier: Apache-2.0
// Is a KV head with indexes beside it a KV head, and are they the ones that belong to it?
#include <type_traits>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "support/indexes.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

using Flat = ContiguousKv<float>;

TEST(IndexedKv, KnowsAtCompileTimeWhatItCarries) {
  using Two = IndexedKv<Flat, Sketch4, ExternalScores>;
  static_assert(KvHead<Two> && KvHead<IndexedKv<PagedKv<BF16>, Sketch1>>);
  static_assert(kCarries<Sketch4, Two> && kCarries<ExternalScores, Two> && !kCarries<Sketch8, Two> && !kCarries<Sketch4, Flat>);
  static_assert(KvIndex<Sketch1> && KvIndex<ExternalScores> && !KvIndex<Flat>);
  static_assert(std::is_same_v<PlainKv<Two>, Flat> && std::is_same_v<PlainKv<Flat>, Flat>);
  EXPECT_EQ(CarriedSources<Flat>::value, 0u);
  EXPECT_EQ(CarriedSources<Two>::value, sources_bit(Source::kSketch4) | sources_bit(Source::kExternal));
}

TEST(IndexedKv, PointsAtItsIndexes) {
  const auto p = random_problem<float>({20, 4, 4, 1}, 1);
  const Sketches all(p.kv());
  const auto kv = all.beside(p.kv());
  EXPECT_EQ(&index_of<Sketch1>(kv), &all.one);
  EXPECT_EQ(&index_of<Sketch4>(kv), &all.four);
  EXPECT_EQ(&index_of<Sketch8>(kv), &all.eight);
}

TEST(IndexedKv, IsTheKvItIsMadeOf) {
  const auto p = random_problem<float>({300, 24, 5, 4}, 2);
  const InPages<float, float> pages(p, 7, Adjacency::kAdjacent);
  const auto expect_same = [&](const auto& plain_kv) {
    const Sketches all(plain_kv);
    const auto kv = all.beside(plain_kv);
    EXPECT_EQ(kv.size(), plain_kv.size());
    EXPECT_EQ(kv.key_dim(), plain_kv.key_dim());
    EXPECT_EQ(kv.value_dim(), plain_kv.value_dim());
    for (Position i = 0; i < 300; i += 13) {
      EXPECT_EQ(kv.key(i), plain_kv.key(i));
      EXPECT_EQ(kv.value(i), plain_kv.value(i));
    }
    const auto expect_equal = [&](const auto& estimator) {
      const State with = attend(estimator, p.query(), kv), without = attend(estimator, p.query(), plain_kv);
      EXPECT_TRUE(same_bits(with.out(), without.out(), 4 * 5));
    };
    expect_equal(Dense{});
    expect_equal(stack(Sinks{2}, TopK{9}, PriorityTail{7}));
    EXPECT_TRUE(same_sketch(sketch_of<Sketch8>(kv), all.eight)) << "an index may grow from a KV that carries one";
  };
  expect_same(p.kv());
  expect_same(pages.kv());
}

TEST(IndexedKv, AnIndexCoversExactlyThePositions) {
  const auto p = random_problem<float>({30, 6, 6, 1}, 3), wide = random_problem<float>({30, 9, 6, 1}, 3);
  Sketch4 sketch = sketch_of<Sketch4>(p.kv());
  auto fewer = p.kv();
  fewer.keys.rows = fewer.values.rows = 29;
  const auto ask = [&](const auto& kv, const Problem<float>& of) {
    attend(TopK{1, Source::kSketch4}, of.query(), with_index(kv, sketch));
  };
  EXPECT_NO_THROW(ask(p.kv(), p));
  expect_error([&] { ask(fewer, p); }, {"4-bit sketch", "30", "29", "truncate"});
  truncate(sketch, p.kv(), 12);
  expect_error([&] { ask(p.kv(), p); }, {"4-bit sketch", "12", "30", "append"});
  append(sketch, p.kv());
  expect_error([&] { ask(wide.kv(), wide); }, {"4-bit sketch", "6", "9"});
}

TEST(IndexedKv, AnUnusedIndexIsHeldToItToo) {
  const auto p = random_problem<float>({30, 6, 6, 1}, 4);
  const Sketch1 empty;
  expect_error([&] { attend(Dense{}, p.query(), with_index(p.kv(), empty)); }, {"1-bit sketch", "0", "30"});
}

}  // namespace
}  // namespace skim::test
