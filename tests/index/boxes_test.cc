// SPDX-License-Identifier: Apache-2.0
// Is every key in the box of its page, exactly? Are boxes the same however the keys arrived?
#include "skim/index/boxes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <new>
#include <random>
#include <vector>

#include "core/expect_error.h"
#include "skim/skim.h"
#include "support/layouts.h"
#include "support/problem.h"

namespace skim::test {
namespace {

template <class K>
class BoxesOf : public testing::Test {};
using KeyTypes = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(BoxesOf, KeyTypes);

/// The first n positions of a KV.
template <class K, class V>
ContiguousKv<K, V> first_of(ContiguousKv<K, V> kv, std::size_t n) {
  kv.keys.rows = kv.values.rows = n;
  return kv;
}
template <class K, class V>
PagedKv<K, V> first_of(PagedKv<K, V> kv, std::size_t n) {
  kv.n = n;
  return kv;
}

template <class Kv>
PageBoxes fresh(const Kv& kv, std::size_t page_size) {
  PageBoxes boxes(page_size);
  append(boxes, kv, 0);
  return boxes;
}

testing::AssertionResult same_boxes(const PageBoxes& a, const PageBoxes& b) {
  if (a.size() != b.size()) return testing::AssertionFailure() << "sizes " << a.size() << " and " << b.size();
  if (a.pages() != b.pages()) return testing::AssertionFailure() << "pages " << a.pages() << " and " << b.pages();
  const auto equal = [](const auto& x, const auto& y) {
    return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(x[0])) == 0);
  };
  if (!equal(BoxAccess::boxes(a), BoxAccess::boxes(b))) return testing::AssertionFailure() << "other boxes";
  if (!equal(BoxAccess::reach(a), BoxAccess::reach(b))) return testing::AssertionFailure() << "another reach";
  if (!equal(a.fingerprints(), b.fingerprints())) return testing::AssertionFailure() << "other fingerprints";
  return testing::AssertionSuccess();
}

/// x in units of 2^-64, exactly: for numbers of magnitude below 2^40 with no digit below 2^-64.
__extension__ using Wide = __int128;
Wide in_units(float x) { return static_cast<Wide>(std::ldexp(static_cast<double>(x), 64)); }

/// Centre and half-width of channel c of a page.
float box_centre_of(const PageBoxes& boxes, std::size_t page, std::size_t c) {
  return to_float(BoxAccess::boxes(boxes)[page * 2 * boxes.key_dim() + c]);
}
float width_of(const PageBoxes& boxes, std::size_t page, std::size_t c) {
  return to_float(BoxAccess::boxes(boxes)[(page * 2 + 1) * boxes.key_dim() + c]);
}

/// Rows of d floats each in storage type K, with values of one column.
template <class K>
struct Stored {
  std::size_t n, d;
  std::vector<K> keys;

  Stored(const std::vector<float>& rows, std::size_t columns) : n(rows.size() / columns), d(columns) {
    keys.resize(n * row_values<K>(d));
    for (std::size_t i = 0; i < n; ++i) from_floats(rows.data() + i * d, d, keys.data() + i * row_values<K>(d));
  }
  ContiguousKv<K> kv() const {
    const Rows<const K> rows{keys.data(), n, d};
    return {rows, rows};
  }
  std::vector<float> row(std::size_t i) const {
    std::vector<float> floats(d);
    to_floats(keys.data() + i * row_values<K>(d), d, floats.data());
    return floats;
  }
};

// Values of one sign and both, of equal and of very different magnitude: a centre is seldom a bfloat16, and a
// difference may have more digits than a double.
TYPED_TEST(BoxesOf, HoldEveryKeyExactly) {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal;
  const std::size_t d = 37;
  for (const std::size_t page : {16u, 17u, 64u}) {
    std::vector<float> rows(page * 40 * d);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::size_t of_page = i / d / page;
      const float shift = of_page % 3 == 0 ? 0.0f : std::ldexp(1.0f, static_cast<int>(of_page % 11));
      const int least = of_page % 4 == 0 ? -30 : 0;  // F16 makes zeros of these
      rows[i] = std::ldexp(normal(random), least + static_cast<int>(random() % 12) * (least < 0 ? 3 : 0)) + shift;
      if (of_page % 5 == 4) rows[i] = shift;
    }
    // No digits below 2^-64.
    for (float& x : rows) {
      if (std::abs(x) < 0x1p-40f) x = 0;
    }
    const Stored<TypeParam> stored(rows, d);
    const PageBoxes boxes = fresh(stored.kv(), page);
    ASSERT_EQ(boxes.pages(), 40u);
    for (std::size_t p = 0; p < boxes.pages(); ++p) {
      double of_centre = 0, of_width = 0;
      for (std::size_t c = 0; c < d; ++c) {
        const Wide centre = in_units(box_centre_of(boxes, p, c)), width = in_units(width_of(boxes, p, c));
        Wide most = 0;
        for (std::size_t t = 0; t < page; ++t) {
          const Wide x = in_units(stored.row(p * page + t)[c]), off = x > centre ? x - centre : centre - x;
          ASSERT_LE(off, width) << "page " << p << " channel " << c << " key " << t;
          most = std::max(most, off);
        }
        // Not larger than rounding it outwards takes: an eighth bit.
        ASSERT_LE(static_cast<double>(width), static_cast<double>(most) * (1 + 0x1p-7)) << p << " " << c;
        of_centre += std::pow(static_cast<double>(box_centre_of(boxes, p, c)), 2);
        of_width += std::pow(static_cast<double>(width_of(boxes, p, c)), 2);
      }
      const double reach = std::sqrt(of_centre) + std::sqrt(of_width);
      ASSERT_GE(static_cast<double>(BoxAccess::reach(boxes)[p]), reach);
      ASSERT_LE(static_cast<double>(BoxAccess::reach(boxes)[p]), reach * 1.00001 + 1e-30);
    }
  }
}

// A page of equal keys that bfloat16 can hold has no width at all.
TEST(Boxes, OfEqualKeysArePoints) {
  const Stored<float> stored(std::vector<float>(16 * 5, 1.5f), 5);
  const PageBoxes boxes = fresh(stored.kv(), 16);
  for (std::size_t c = 0; c < 5; ++c) {
    EXPECT_EQ(box_centre_of(boxes, 0, c), 1.5f);
    EXPECT_EQ(width_of(boxes, 0, c), 0.0f);
  }
}

// Digits that a double difference loses still round the width up.
TEST(Boxes, ADifferenceWithManyDigitsIsRoundedUp) {
  std::vector<float> rows(16, 0.5f);
  rows[3] = 1.0f;
  rows[7] = -0x1p-100f;  // the centre is 0.5; its distance is .5 + 2^-100
  const PageBoxes boxes = fresh(Stored<float>(rows, 1).kv(), 16);
  EXPECT_EQ(box_centre_of(boxes, 0, 0), 0.5f);
  EXPECT_EQ(width_of(boxes, 0, 0), 0.50390625f);
}

template <class Kv>
void grow_and_shrink(const Kv& whole, std::size_t page_size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto n = static_cast<std::size_t>(whole.size());
  PageBoxes boxes(page_size);
  for (int step = 0; step < 60; ++step) {
    const auto size = static_cast<std::size_t>(boxes.size());
    switch (random() % 4) {
      case 0: {  // one by one
        const std::size_t more = std::min(n, size + random() % 40);
        for (std::size_t i = size; i < more; ++i) append(boxes, first_of(whole, i + 1));
        break;
      }
      case 1: append(boxes, first_of(whole, size + random() % (n - size + 1))); break;
      case 2: truncate(boxes, whole, static_cast<Position>(random() % (size + 1))); break;
      case 3: {  // from a position that was there already
        const std::size_t from = random() % (size + 1);
        append(boxes, first_of(whole, from + random() % (n - from + 1)), static_cast<Position>(from));
        break;
      }
    }
    ASSERT_TRUE(same_boxes(boxes, fresh(first_of(whole, static_cast<std::size_t>(boxes.size())), page_size)))
        << "after step " << step;
  }
}

TYPED_TEST(BoxesOf, AreTheSameHoweverKeysArrive) {
  for (const std::size_t page : {16u, 19u, 64u}) {
    auto p = random_problem<TypeParam>({500, 24, 8, 1}, page);
    fill_row(row_at(p.keys, 77, 24), 24, std::numeric_limits<double>::quiet_NaN());
    grow_and_shrink(p.kv(), page, page);
    const InPages<TypeParam, TypeParam> pages(p, 7, Adjacency::kAdjacent);
    grow_and_shrink(pages.kv(), page, page + 1);
    EXPECT_TRUE(same_boxes(fresh(p.kv(), page), fresh(pages.kv(), page)));
    const Strided<TypeParam, TypeParam> strided(p, 3, 2);
    EXPECT_TRUE(same_boxes(fresh(p.kv(), page), fresh(strided.kv(), page)));
  }
}

TEST(Boxes, OnlyCompletePagesHaveOne) {
  const auto p = random_problem<BF16>({100, 8, 8, 1}, 1);
  PageBoxes boxes(32);
  EXPECT_EQ(boxes.size(), 0);
  EXPECT_EQ(boxes.bytes(), 0u);
  for (std::size_t n = 1; n <= 100; ++n) {
    append(boxes, first_of(p.kv(), n));
    EXPECT_EQ(boxes.size(), static_cast<Position>(n));
    EXPECT_EQ(boxes.pages(), n / 32);
    EXPECT_EQ(boxes.bytes(), n / 32 * (2 * 8 * 2 + 4 + 8));
    EXPECT_EQ(boxes.key_dim(), 8u);
  }
  EXPECT_EQ(PageBoxes().page_size(), 16u);
}

// Its reach is infinite, and what is stored of it is zeros: nothing that is not a number can be read.
TYPED_TEST(BoxesOf, APageWithAKeyThatIsNotFiniteHasNone) {
  for (const double bad : {kNan, kInf, -kInf}) {
    auto p = random_problem<TypeParam>({64, 9, 8, 1}, 1);
    fill_row(row_at(p.keys, 21, 9), 9, bad);
    const PageBoxes boxes = fresh(p.kv(), 16);
    for (std::size_t page = 0; page < 4; ++page) {
      EXPECT_EQ(std::isinf(BoxAccess::reach(boxes)[page]), page == 1);
      for (std::size_t c = 0; c < 9; ++c) {
        if (page == 1) {
          EXPECT_EQ(box_centre_of(boxes, page, c), 0.0f);
          EXPECT_EQ(width_of(boxes, page, c), 0.0f);
        } else {
          EXPECT_GT(width_of(boxes, page, c), 0.0f);
        }
      }
    }
  }
}

// What has no finite bfloat16 has no box either; small numbers have one.
TEST(Boxes, OfHugeAndTinyKeys) {
  const float most = std::numeric_limits<float>::max(), least = std::numeric_limits<float>::denorm_min();
  std::vector<float> rows(5 * 16, 0.0f);
  rows[0] = most;
  rows[1] = -most;
  for (std::size_t i = 16; i < 32; ++i) rows[i] = most;
  rows[32] = 1e38f;
  rows[33] = -2e38f;
  for (std::size_t i = 48; i < 64; ++i) rows[i] = i % 2 == 0 ? least : -least;
  rows[64] = 3 * least;
  const PageBoxes boxes = fresh(Stored<float>(rows, 1).kv(), 16);
  EXPECT_TRUE(std::isinf(BoxAccess::reach(boxes)[0]));
  EXPECT_TRUE(std::isinf(BoxAccess::reach(boxes)[1]));
  EXPECT_TRUE(std::isfinite(BoxAccess::reach(boxes)[2]));
  for (std::size_t page = 2; page < 5; ++page) {
    for (std::size_t t = 0; t < 16; ++t) {
      EXPECT_LE(std::abs(static_cast<double>(rows[page * 16 + t]) - static_cast<double>(box_centre_of(boxes, page, 0))),
                static_cast<double>(width_of(boxes, page, 0)));
    }
    EXPECT_GT(BoxAccess::reach(boxes)[page], 0.0f);
  }
}

TEST(Boxes, WhatDoesNotFitIsRefused) {
  expect_error([] { PageBoxes boxes(15); }, {"15", "16"});
  const auto p = random_problem<float>({100, 8, 8, 1}, 1), other = random_problem<float>({100, 9, 8, 1}, 1);
  PageBoxes boxes = fresh(p.kv(), 16);
  expect_error([&] { append(boxes, p.kv(), 101); }, {"page boxes", "100", "101"});
  expect_error([&] { append(boxes, p.kv(), -1); }, {"100", "-1"});
  expect_error([&] { append(boxes, first_of(p.kv(), 40), 50); }, {"50", "40"});
  expect_error([&] { append(boxes, other.kv(), 0); }, {"9", "8"});
  expect_error([&] { truncate(boxes, p.kv(), 101); }, {"100", "101"});
  expect_error([&] { truncate(boxes, p.kv(), -1); }, {"100", "-1"});
  EXPECT_TRUE(same_boxes(boxes, fresh(p.kv(), 16))) << "an error changed something";
  const std::vector<float> wide(16385, 0.0f);
  const auto of_columns = [&](std::size_t d) { return ContiguousKv<float>{{wide.data(), 1, d}, {wide.data(), 1, 1}}; };
  expect_error([&] { fresh(of_columns(16385), 16); }, {"16385", "16384"});
  expect_error([&] { fresh(of_columns(0), 16); }, {"0 columns"});
  // Emptied, they take keys of another size.
  truncate(boxes, p.kv(), 0);
  append(boxes, other.kv());
  EXPECT_TRUE(same_boxes(boxes, fresh(other.kv(), 16)));
}

TEST(Boxes, TravelWithTheirHead) {
  const auto p = random_problem<float>({100, 8, 8, 1}, 1);
  PageBoxes boxes = fresh(first_of(p.kv(), 99), 16);
  const TopK by_boxes{.budget = 5, .by = Source::kBoxes, .exact = true};
  expect_error([&] { select(by_boxes, p.query(), with_index(p.kv(), boxes)); }, {"page boxes", "99", "100"});
  append(boxes, p.kv());
  EXPECT_EQ(list_of(select(by_boxes, p.query(), with_index(p.kv(), boxes))).size(), 5u);
  expect_error([&] { select(by_boxes, p.query(), p.kv()); }, {"boxes", "with_index"});
}

}  // namespace
}  // namespace skim::test
