// SPDX-License-Identifier: Apache-2.0
// Are the rows of the table the means of its pages, however keys and values arrived?
#include "skim/index/means.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "skim/skim.h"
#include "support/indexes.h"
#include "support/layouts.h"
#include "support/problem.h"

namespace skim::test {
namespace {

/// The first n positions of a problem.
template <class Kv>
PageMeans built(const Kv& kv, std::size_t page) {
  PageMeans means(page);
  append(means, kv);
  return means;
}

/// Everything that can be read of a table.
testing::AssertionResult same(const PageMeans& a, const PageMeans& b) {
  if (a.size() != b.size() || a.pages() != b.pages() || a.bytes() != b.bytes()) {
    return testing::AssertionFailure() << a.size() << " positions in " << a.pages() << " pages, and " << b.size()
                                       << " in " << b.pages();
  }
  const MeanRows x = a.rows(), y = b.rows();
  for (std::size_t j = 0; j < a.pages(); ++j) {
    if (std::memcmp(x.keys.row(j), y.keys.row(j), a.key_dim() * sizeof(BF16)) != 0 ||
        std::memcmp(x.values.row(j), y.values.row(j), a.value_dim() * sizeof(BF16)) != 0) {
      return testing::AssertionFailure() << "page " << j;
    }
  }
  if (!std::equal(a.left_out().begin(), a.left_out().end(), b.left_out().begin(), b.left_out().end())) {
    return testing::AssertionFailure() << "others are left out";
  }
  if (!same_buffer("fingerprints", a.fingerprints(), b.fingerprints())) {
    return testing::AssertionFailure() << "fingerprints differ";
  }
  return testing::AssertionSuccess();
}

constexpr std::size_t kPages[] = {1, 3, 16, 17, 64};

template <class K>
struct Means : testing::Test {};
using Storages = testing::Types<float, F16, BF16, I8>;
TYPED_TEST_SUITE(Means, Storages);

TYPED_TEST(Means, AreMeansOfWholePages) {
  for (const std::size_t page : kPages) {
    for (const std::size_t n : {0u, 1u, 15u, 16u, 17u, 63u, 64u, 65u, 130u}) {
      for (const std::size_t d : {1u, 7u, 16u, 33u}) {
        SCOPED_TRACE(testing::Message() << n << " keys of " << d << " in pages of " << page);
        const auto p = random_problem<TypeParam>({n, d, d + 3, 1}, n + d);
        const PageMeans means = built(p.kv(), page);
        EXPECT_EQ(means.size(), static_cast<Position>(n));
        ASSERT_EQ(means.pages(), n / page);
        EXPECT_EQ(means.summarised(), static_cast<Position>(n / page * page));
        EXPECT_EQ(means.bytes(), n / page * ((2 * d + 3) * 2 + 8));
        EXPECT_TRUE(means.left_out().empty());
        const auto expect_means = [&](const Matrix& rows, const Rows<const BF16>& of_pages) {
          for (std::size_t j = 0; j < means.pages(); ++j) {
            for (std::size_t c = 0; c < rows.cols; ++c) {
              double sum = 0, size = 0;
              for (std::size_t i = j * page; i < (j + 1) * page; ++i) {
                sum += rows(i, c);
                size += std::abs(rows(i, c));
              }
              const double mean = sum / static_cast<double>(page);
              // To nearest, and what a sum in float is off before that.
              EXPECT_NEAR(to_float(of_pages.row(j)[c]), mean, std::abs(mean) * 0x1p-8 + size * 0x1p-23) << j << ", " << c;
            }
          }
        };
        expect_means(numbers_of(p.keys, n, d), means.rows().keys);
        expect_means(numbers_of(p.values, n, d + 3), means.rows().values);
      }
    }
  }
}

// Long random sequences of append and truncate, among them of other keys, against a table built at once.
TYPED_TEST(Means, HoweverTheyArrived) {
  std::mt19937 generator(1);
  for (const std::size_t page : {1u, 5u, 16u}) {
    auto p = random_problem<TypeParam>({200, 8, 4, 1}, page);
    fill_row(row_at(p.keys, 33, 8), 8, kNan);
    fill_row(row_at(p.values, 60, 4), 4, kInf);
    PageMeans means(page);
    for (int step = 0; step < 300; ++step) {
      const auto have = static_cast<std::size_t>(means.size());
      if (generator() % 3 == 0) {
        truncate(means, p.kv(), static_cast<Position>(generator() % (have + 1)));
      } else {
        const std::size_t from = generator() % 4 ? have : generator() % (have + 1);
        const std::size_t n = std::min<std::size_t>(200, from + generator() % (generator() % 5 ? 4 : 90));
        for (std::size_t i = from; i < n && step % 7 == 0; ++i) p.keys[i * row_values<TypeParam>(8)] = p.keys[0];
        append(means, first_of(p, n), static_cast<Position>(from));
      }
      ASSERT_TRUE(same(means, built(first_of(p, static_cast<std::size_t>(means.size())), page))) << "step " << step;
    }
  }
}

TYPED_TEST(Means, OfACacheInPages) {
  const auto p = random_problem<TypeParam>({150, 24, 8, 1}, 3);
  const PageMeans flat = built(p.kv(), 16);
  for (const std::size_t page_size : {1u, 3u, 16u, 256u}) {
    for (const Adjacency adjacency : {Adjacency::kApart, Adjacency::kAdjacent}) {
      const InPages<TypeParam, TypeParam> pages(p, page_size, adjacency);
      EXPECT_TRUE(same(built(pages.kv(), 16), flat)) << page_size;
    }
  }
}

TYPED_TEST(Means, LeaveOutWhatIsNotFinite) {
  auto p = random_problem<TypeParam>({64, 8, 4, 1}, 4);
  fill_row(row_at(p.keys, 3, 8), 8, kNan);
  fill_row(row_at(p.values, 9, 4), 4, kInf);
  for (std::size_t i = 32; i < 48; ++i) fill_row(row_at(p.keys, i, 8), 8, -kInf);
  const PageMeans means = built(p.kv(), 16);
  std::vector<Position> expected = {3, 9};
  for (Position i = 32; i < 48; ++i) expected.push_back(i);
  EXPECT_EQ(std::vector<Position>(means.left_out().begin(), means.left_out().end()), expected);
  const Matrix values = numbers_of(p.values, 64, 4);
  for (std::size_t c = 0; c < 4; ++c) {
    double sum = 0;
    for (std::size_t i = 0; i < 16; ++i) sum += i == 3 || i == 9 ? 0 : values(i, c);
    EXPECT_NEAR(to_float(means.rows().values.row(0)[c]), sum / 14, 0.01);
  }
}

// Sums that overflow are of shares; a mean that bfloat16 cannot hold says nothing of its page.
TEST(PageMeans, OfTheLargestFloats) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  std::vector<float> rows(32, 0x1p127f);
  const ContiguousKv<float> kv{{rows.data(), 32, 1}, {rows.data(), 32, 1}};
  PageMeans means = built(kv, 16);
  EXPECT_EQ(to_float(means.rows().keys.row(0)[0]), 0x1p127f);
  EXPECT_TRUE(means.left_out().empty());
  std::fill(rows.begin(), rows.begin() + 16, kLargest);
  means = built(kv, 16);
  EXPECT_EQ(means.left_out().size(), 16u);
}

TEST(PageMeans, OfEqualRowsAreTheRow) {
  auto p = random_problem<BF16>({120, 8, 8, 1}, 5);
  for (std::size_t i = 1; i < 120; ++i) std::copy_n(p.keys.begin(), 8, row_at(p.keys, i, 8));
  for (const std::size_t page : {1u, 2u, 3u, 7u, 60u}) {
    EXPECT_EQ(std::memcmp(built(p.kv(), page).rows().keys.row(0), p.keys.data(), 16), 0) << page;
  }
}

TEST(PageMeans, WholePagesOfWhatIsVisible) {
  const auto p = random_problem<float>({100, 8, 4, 1}, 7);
  const PageMeans means = built(p.kv(), 16);
  for (Position first = 0; first <= 100; ++first) {
    for (Position last = first; last <= 100; ++last) {
      std::vector<Position> pages;
      for (Position j = 0; j < 6; ++j) {
        if (16 * j >= first && 16 * (j + 1) <= last) pages.push_back(j);
      }
      const skim::Span whole = means.whole_pages({first, last});
      EXPECT_EQ(whole.size(), 16 * static_cast<Position>(pages.size()));
      EXPECT_TRUE(pages.empty() || whole.first == 16 * pages[0]) << first;
      EXPECT_TRUE(whole.first >= first && whole.first <= whole.last && whole.last <= last) << first << ", " << last;
    }
  }
}

// As a source: all positions of a page are as good as its mean key; of others it says nothing.
TYPED_TEST(Means, RankPositionsByTheirPage) {
  const float slopes[] = {0.02f, 0.1f, 0.05f};
  for (const std::size_t n : {5u, 16u, 100u, 600u}) {
    auto p = random_problem<TypeParam>({n, 24, 4, 3}, n);
    if (n > 50) fill_row(row_at(p.keys, 35, 24), 24, -kInf);
    const PageMeans means = built(p.kv(), 16);
    const auto kv = with_index(p.kv(), means);
    for (const bool part : {false, true}) {
      Query q = p.query();
      q.logit = {.soft_cap = 3, .alibi_slopes = slopes};
      if (part) {
        q.visible.first = 3;
        q.position = static_cast<Position>(n) - 2;
      }
      q = q.resolved(static_cast<Position>(n));
      Workspace ws;
      const auto x = HWY_NAMESPACE::scores(Source::kMeans, q, kv, ws);
      for (Position i = q.visible.first; i < q.visible.last; ++i) {
        const Position page = i / 16;
        const bool whole = page * 16 >= q.visible.first && (page + 1) * 16 <= q.visible.last && !(n > 50 && i == 35);
        for (std::size_t h = 0; h < 3; ++h) {
          const float score = x.of.of_head(h)[i - q.visible.first];
          if (!whole) {
            EXPECT_EQ(score, HWY_NAMESPACE::kNotCovered) << i;
            continue;
          }
          std::vector<double> row;
          for (std::size_t c = 0; c < 24; ++c) row.push_back(q.rows.row(h)[c]);
          ReferenceQuery reference{row, *q.logit.scale, 3, slopes[h], q.position - (16 * page + 7) + page};
          Matrix keys{means.pages(), 24, {}};
          for (std::size_t j = 0; j < means.pages(); ++j) {
            for (std::size_t c = 0; c < 24; ++c) keys.numbers.push_back(to_float(means.rows().keys.row(j)[c]));
          }
          EXPECT_NEAR(score, reference_logit(reference, keys, static_cast<std::size_t>(page)), 1e-4) << i << ", head " << h;
        }
      }
    }
  }
}

TEST(PageMeans, AsTheSourceOfEstimators) {
  const auto p = random_problem<BF16>({256, 16, 8, 2}, 8);
  const PageMeans means = built(p.kv(), 16);
  const auto kv = with_index(p.kv(), means);
  // Whole pages, ties in order: of 40 positions the last 8 are the first of their page.
  const auto list = list_of(select(parse("topk(40,by=means)"), p.query(), kv));
  ASSERT_EQ(list.size(), 40u);
  std::vector<std::size_t> in_page(16, 0);
  for (const Weighted& w : list) ++in_page[static_cast<std::size_t>(w.position / 16)];
  std::sort(in_page.rbegin(), in_page.rend());
  EXPECT_EQ((std::vector<std::size_t>{in_page[0], in_page[1], in_page[2], in_page[3]}), (std::vector<std::size_t>{16, 16, 8, 0}));
  for (const char* text : {"topk(10,by=means,candidates=64)", "priority(30,by=means)", "topk(32,by=means)+summaries"}) {
    State state = attend(parse(text), p.query(), kv);
    State parts = attend(select(parse(text), p.query(), kv), p.query(), kv);
    EXPECT_TRUE(same_bits(state.out(), parts.out(), 2 * 8)) << text;
  }
}

TEST(PageMeans, Errors) {
  const auto p = random_problem<float>({40, 8, 4, 1}, 6);
  PageMeans means(16);
  EXPECT_EQ(PageMeans().page(), 64u);
  expect_error([] { PageMeans none(0); }, {"page is 0", "between 1"});
  expect_error([] { PageMeans most(65537); }, {"page is 65537", "65536"});
  expect_error([&] { append(means, p.kv(), 1); }, {"covers 0", "from 1"});
  append(means, p.kv());
  expect_error([&] { append(means, p.kv(), 41); }, {"covers 40", "from 41"});
  expect_error([&] { append(means, first_of(p, 20), 30); }, {"from is 30", "20 keys"});
  expect_error([&] { truncate(means, p.kv(), 41); }, {"covers 40", "cut to 41"});
  expect_error([&] { truncate(means, p.kv(), -1); }, {"cut to -1"});
  const auto other = random_problem<float>({50, 7, 4, 1}, 6), wider = random_problem<float>({50, 8, 5, 1}, 6);
  expect_error([&] { append(means, other.kv()); }, {"keys have 7 columns", "keys with 8"});
  expect_error([&] { append(means, wider.kv()); }, {"values have 5 columns", "values with 4"});
  EXPECT_TRUE(same(means, built(p.kv(), 16))) << "after errors the table is the one it was";
  truncate(means, p.kv(), 0);
  append(means, wider.kv());
  EXPECT_EQ(means.value_dim(), 5u);
}

}  // namespace
}  // namespace skim::test
