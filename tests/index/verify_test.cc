// SPDX-License-Identifier: Apache-2.0
// Is an index of other keys, or of keys that are no longer there, noticed wherever they differ?
#include "skim/index/verify-inl.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "support/any_index.h"
#include "support/layouts.h"

namespace skim::test {
namespace {

constexpr std::size_t kPositions = 1500, kD = 12;  // of every index some pieces, and positions that none holds

template <class Index>
struct Verify : testing::Test {};
TYPED_TEST_SUITE(Verify, AllIndexes);

/// Positions that pieces hold.
template <class Index>
Position held(const Index& index) {
  return static_cast<Position>(index.fingerprints().size() * index.piece());
}

TYPED_TEST(Verify, AnIndexOfTheseKeysIsRight) {
  for_each_stored([](auto storage) {
    using K = decltype(storage);
    const auto p = random_problem<K>({kPositions, kD, 7, 1}, 1);
    const InPages<K, K> pages(p, 16, Adjacency::kAdjacent);
    const TypeParam index = index_of_all<TypeParam>(p.kv());
    EXPECT_GT(held(index), 0);
    EXPECT_LT(held(index), Position{kPositions});
    EXPECT_NO_THROW(verify(index, p.kv()));
    EXPECT_NO_THROW(verify(index, pages.kv())) << "wherever they lie";
    EXPECT_NO_THROW(verify(with_index(p.kv(), index)));
    EXPECT_NO_THROW(verify(make_index<TypeParam>(kD), first_positions(p, 0)));
  });
}

// A cache slot that is used again, and `append` with equal lengths: each position by itself.
TYPED_TEST(Verify, AKeyThatIsOverwrittenIsNamed) {
  for_each_stored([](auto storage) {
    using K = decltype(storage);
    auto p = random_problem<K>({kPositions, kD, 7, 1}, 1);
    const auto other = random_problem<K>({1, kD, 7, 1}, 2);
    TypeParam index = index_of_all<TypeParam>(p.kv());
    for (std::size_t at = 0; at < kPositions; at += 97) {
      const std::vector<K> row(row_at(p.keys, at, kD), row_at(p.keys, at + 1, kD));
      std::copy(other.keys.begin(), other.keys.end(), row_at(p.keys, at, kD));
      append(index, p.kv());  // nothing new: the lengths are equal
      if (static_cast<Position>(at) >= held(index)) {
        EXPECT_NO_THROW(verify(index, p.kv())) << at << " is read from the keys";
      } else {
        const std::size_t first = at / index.piece() * index.piece();
        const std::string span = "[" + std::to_string(first) + ", " + std::to_string(first + index.piece()) + ")";
        const std::string mend = "truncate it to " + std::to_string(first) + " and append again";
        expect_error([&] { verify(index, p.kv()); }, {"skim::verify", TypeParam::kName, span.c_str(), mend.c_str()});
        expect_error([&] { verify(with_index(p.kv(), index)); }, {"skim::verify", TypeParam::kName, span.c_str()});
        TypeParam mended = index;
        append(mended, p.kv(), static_cast<Position>(first));
        EXPECT_NO_THROW(verify(mended, p.kv())) << at;
      }
      std::copy(row.begin(), row.end(), row_at(p.keys, at, kD));
    }
    EXPECT_NO_THROW(verify(index, p.kv()));
  });
}

TYPED_TEST(Verify, AnotherHeadOfTheSameSizeIsNoticed) {
  for_each_stored([](auto storage) {
    using K = decltype(storage);
    const auto p = random_problem<K>({kPositions, kD, 7, 1}, 1), other = random_problem<K>({kPositions, kD, 7, 1}, 2);
    const TypeParam index = index_of_all<TypeParam>(other.kv());
    expect_error([&] { verify(index, p.kv()); }, {TypeParam::kName, "piece 0 of", "another KV head"});
  });
}

// Hashes are those of a fresh index, however it came about.
TYPED_TEST(Verify, AfterTruncateWhatIsLeftIsRight) {
  const auto p = random_problem<float>({5000, kD, 7, 1}, 1), other = random_problem<float>({5000, kD, 7, 1}, 2);
  for (const Position to : {4999, 4096, 4095, 2100, 2048, 1100, 1024, 300, 256, 255, 64, 16, 15, 1, 0}) {
    TypeParam index = index_of_all<TypeParam>(p.kv());
    truncate(index, p.kv(), to);
    ASSERT_NO_THROW(verify(index, first_positions(p, to))) << to;
    ASSERT_TRUE(same_index(index, index_of_all<TypeParam>(first_positions(p, to)))) << to;
    // A sequence that shares the beginning, and goes on otherwise.
    auto branch = p;
    std::copy(other.keys.begin() + to * Position{kD}, other.keys.end(), branch.keys.begin() + to * Position{kD});
    append(index, branch.kv());
    ASSERT_NO_THROW(verify(index, branch.kv())) << to;
    if (to > 4900) continue;
    ASSERT_THROW(verify(index, p.kv()), std::invalid_argument) << to;
  }
}

TEST(Verify, OfMeansValuesToo) {
  auto p = random_problem<float>({200, 4, 6, 1}, 1);
  const PageMeans means = index_of_all<PageMeans>(p.kv());
  p.values[70 * 6] += 1;
  expect_error([&] { verify(means, p.kv()); }, {"table of page means", "keys or values", "[64, 128)", "piece 1 of 3"});
}

TEST(Verify, OfAllThatAKvCarries) {
  const auto p = random_problem<float>({600, 8, 8, 1}, 1), other = random_problem<float>({600, 8, 8, 1}, 2);
  const auto sketch = index_of_all<Sketch4>(p.kv());
  const auto boxes = index_of_all<PageBoxes>(p.kv()), wrong = index_of_all<PageBoxes>(other.kv());
  const std::vector<float> scores(600);
  const ExternalScores external{{scores.data(), 1, 600}, 599};
  EXPECT_NO_THROW(verify(with_index(p.kv(), sketch, external, boxes)));
  expect_error([&] { verify(with_index(p.kv(), sketch, external, wrong)); }, {"page boxes"});
  EXPECT_NO_THROW(verify(p.kv())) << "no index, nothing to compare";
}

TEST(Verify, ShapesComeFirst) {
  const auto p = random_problem<float>({600, 8, 8, 1}, 1), wide = random_problem<float>({600, 9, 8, 1}, 1);
  const auto sketch = index_of_all<Sketch4>(p.kv());
  expect_error([&] { verify(sketch, first_positions(p, 599)); }, {"skim::verify", "4-bit sketch", "600", "599"});
  expect_error([&] { verify(sketch, wide.kv()); }, {"skim::verify", "8 columns", "9"});
  auto null = p.kv();
  null.keys.data = nullptr;
  expect_error([&] { verify(sketch, null); }, {"keys is null"});
}

}  // namespace
}  // namespace skim::test
