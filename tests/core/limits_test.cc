// SPDX-License-Identifier: Apache-2.0
// May a size from outside be any number? The largest are errors that name the limit, or no memory; none wraps.
#include "skim/core/limits.h"

#include <cstdint>
#include <limits>
#include <new>
#include <vector>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

constexpr std::size_t kMax = std::numeric_limits<std::size_t>::max();
constexpr Position kLeast = std::numeric_limits<Position>::min(), kMost = std::numeric_limits<Position>::max();
/// Sizes whose products with small numbers wrap to small ones, or turn negative as positions.
constexpr std::size_t kExtremes[] = {kMax,      kMax - 1,         kMax - 63,        kMax / 2 + 1,      kMax / 2,
                                     kMax / 3 + 1, kMax / 4 + 1, kMax / 4 + 64, kMax / 8 + 1, kMax / 8 + 2,
                                     kMax / 16 + 1, std::size_t{1} << 61, std::size_t{1} << 58, std::size_t{1} << 48};

TEST(Limits, ProductsThatWrapAreNoMemory) {
  EXPECT_EQ(checked_product(0, kMax), 0u);
  EXPECT_EQ(checked_product(kMax, 1), kMax);
  EXPECT_EQ(checked_product(std::size_t{1} << 31, std::size_t{1} << 32), std::size_t{1} << 63);
  EXPECT_THROW(checked_product(std::size_t{1} << 32, std::size_t{1} << 32), std::bad_alloc);
  EXPECT_THROW(checked_product(kMax, 2), std::bad_alloc);
}

TEST(Limits, ErrorsNameAllThreeNumbers) {
  EXPECT_NO_THROW(check_between("x", 3, 3, 5));
  EXPECT_NO_THROW(check_between("x", 5, 3, 5));
  expect_error([] { check_between("skim::Thing: x", 6, 3, 5); }, {"skim::Thing: x is 6", "between 3 and 5"});
  expect_error([] { check_between("skim::Thing: x", 2, 3, 5); }, {"x is 2"});
}

template <class T>
void expect_no_memory() {
  for (const std::size_t size : kExtremes) {
    Buffer<T> buffer;
    buffer.push_back(T{});
    EXPECT_THROW(buffer.reserve(size), std::bad_alloc) << size;
    EXPECT_THROW(buffer.reserve_exactly(size), std::bad_alloc) << size;
    EXPECT_THROW(buffer.resize(size), std::bad_alloc) << size;
    EXPECT_EQ(buffer.size(), 1u);
    Workspace ws;
    EXPECT_THROW(ws.get<T>(Workspace::kUser, size), std::bad_alloc) << size;
  }
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SKIM_TEST_ASAN
#endif
#endif

#if !defined(SKIM_TEST_ASAN) && !defined(__SANITIZE_ADDRESS__)  // which stops the program instead
TEST(Limits, BuffersAndWorkspaces) {
  expect_no_memory<char>();
  expect_no_memory<std::uint16_t>();
  expect_no_memory<float>();
  expect_no_memory<double>();
  expect_no_memory<Pick>();
  struct Odd {
    char bytes[24];
  };
  expect_no_memory<Odd>();
}

TEST(Limits, StatesAndRecords) {
  for (const std::size_t heads : kExtremes) {
    SelectionRecord record;
    begin_record(record, 3, 2, 1, 10, 1);
    EXPECT_THROW(begin_record(record, heads, 4, 2, 10, 1), std::bad_alloc) << heads;
    EXPECT_THROW(begin_record(record, 4, heads, heads, 10, 2), std::bad_alloc) << heads;
    EXPECT_EQ(record.size(), 6u) << "it is the one it was";
    EXPECT_EQ(record.rows(), 3u);
    for (const std::size_t cols : {std::size_t{2}, std::size_t{4}, std::size_t{16}, std::size_t{64}, heads}) {
      EXPECT_THROW(State(heads, cols), std::bad_alloc) << heads << " x " << cols;
      EXPECT_THROW(State(cols, heads), std::bad_alloc) << cols << " x " << heads;
    }
  }
}
#endif

TEST(Limits, WhatIndexesAreMadeWith) {
  const auto planes = std::make_shared<const LshPlanes>(4, 3, 3, 1);
  for (std::size_t size : kExtremes) {
    expect_error([&] { Sketch1 of(size); }, {"skim::Sketch: segment", "65536"});
    expect_error([&] { Sketch4 of(size / 64 * 64); }, {"skim::Sketch: segment", "65536"});
    expect_error([&] { Sketch8 of(size); }, {"skim::Sketch: segment", "65536"});
    expect_error([&] { PageBoxes of(size); }, {"skim::PageBoxes: page_size", "65536"});
    expect_error([&] { PageMeans of(size); }, {"skim::PageMeans: page", "65536"});
    expect_error([&] { LshTables of(planes, size); }, {"skim::LshTables: segment", "32768"});
    expect_error([&] { LshPlanes of(size, 1, 1, 1); }, {"skim::LshPlanes: d", "1024"});
    expect_error([&] { LshPlanes of(1, size, 1, 1); }, {"skim::LshPlanes: bits", "16"});
    expect_error([&] { LshPlanes of(1, 1, size, 1); }, {"skim::LshPlanes: tables", "1024"});
  }
  EXPECT_EQ(Sketch8(65536).segment(), 65536u);
  EXPECT_EQ(PageBoxes(65536).page_size(), 65536u);
}

TEST(Limits, WhatIndexesReserve) {
  Sketch4 sketch;
  PageBoxes boxes;
  PageMeans means;
  LshTables tables(std::make_shared<const LshPlanes>(4, 3, 3, 1));
  for (const Position n : {Position{-1}, kLeast, kMost, kMostPositions + 1}) {
    expect_error([&] { reserve(sketch, n, 8); }, {"positions", "68719476736"});
    expect_error([&] { reserve(boxes, n, 8); }, {"positions", "68719476736"});
    expect_error([&] { reserve(means, n, 8, 8); }, {"positions", "68719476736"});
    expect_error([&] { reserve(tables, n); }, {"positions", "68719476736"});
  }
  for (const std::size_t d : kExtremes) {
    expect_error([&] { reserve(sketch, 8, d); }, {"d is", "1024"});
    expect_error([&] { reserve(boxes, 8, d); }, {"d is", "16384"});
    expect_error([&] { reserve(means, 8, d, 8); }, {"d is", "1048576"});
    expect_error([&] { reserve(means, 8, 8, d); }, {"d_v is", "1048576"});
  }
  expect_error([&] { reserve(sketch, 8, 0); }, {"d is 0"});
}

/// One row that stands for any number of them.
ContiguousKv<float> repeated(const std::vector<float>& row, std::size_t n) {
  const Rows<const float> rows{row.data(), n, row.size(), 0};
  return {rows, rows};
}

// With a stride of 0 no memory limits the number of keys.
TEST(Limits, KeysWithoutMemory) {
  const std::vector<float> row(8, 0.5f);
  Query q;
  q.rows = {row.data(), 1, 8};
  Sketch4 sketch;
  PageBoxes boxes;
  PageMeans means;
  LshTables tables(std::make_shared<const LshPlanes>(8, 3, 3, 1));
  for (const std::size_t n : kExtremes) {
    const auto kv = repeated(row, n);
    EXPECT_THROW(attend(TopK{3}, q, kv), std::invalid_argument) << n;
    EXPECT_THROW(append(sketch, kv), std::invalid_argument) << n;
    EXPECT_THROW(append(boxes, kv), std::invalid_argument) << n;
    EXPECT_THROW(append(means, kv), std::invalid_argument) << n;
    EXPECT_THROW(append(tables, kv), std::invalid_argument) << n;
    EXPECT_THROW(verify(sketch, kv), std::invalid_argument) << n;
  }
  expect_error([&] { attend(TopK{3}, q, repeated(row, std::size_t{1} << 40)); }, {"number of keys", "68719476736"});
  EXPECT_NO_THROW(attend(TopK{3}, q, repeated(row, 1000)));
}

TEST(Limits, HeadsAndPages) {
  const std::vector<float> row(8, 0.5f);
  std::vector<float> out(8), lse(1);
  for (const std::size_t many : kExtremes) {
    Query q;
    q.rows = {row.data(), many, 8, 0};
    EXPECT_THROW(select(TopK{3}, q, repeated(row, 100)), std::invalid_argument) << many;
    LayerQuery layer;
    layer.rows = {row.data(), 1, many, 8, 0, 0};
    const std::vector<ContiguousKv<float>> heads = {repeated(row, 100)};
    SelectionRecord record;
    EXPECT_THROW(select(TopK{3}, layer, LayerKv<ContiguousKv<float>>{heads, 1}, record), std::invalid_argument) << many;
    Query one;
    one.rows = {row.data(), 1, 8};
    const std::vector<std::int32_t> table = {0};
    const Pages<float> rows{row.data(), 8, 1};
    const PagedKv<float> pages{
        .n = 1, .page_size = 1, .table = table, .pool_pages = many, .keys = rows, .values = rows};
    EXPECT_THROW(attend(TopK{3}, one, pages), std::invalid_argument) << many;
  }
}

TEST(Limits, ExternalScores) {
  const auto p = random_problem<float>({20, 4, 4, 1}, 1);
  const std::vector<float> scores(20, 1.0f);
  for (const std::size_t many : kExtremes) {
    for (const Position first : {Position{0}, Position{19}, kMost, kLeast}) {
      const ExternalScores wide{{scores.data(), 1, many}, 19};
      EXPECT_THROW(attend(TopK{3, Source::kExternal}, p.query(), with_index(p.kv(), wide)), std::invalid_argument) << many;
      const ExternalScores tall{{scores.data(), many, 20, 0}, first};
      const bool covers = first >= 0 && first <= 19;
      const auto ask = [&] { attend(TopK{3, Source::kExternal}, p.query(), with_index(p.kv(), tall)); };
      if (covers) {
        EXPECT_NO_THROW(ask()) << many << " from " << first;
      } else if (first > 0) {
        EXPECT_THROW(ask(), std::invalid_argument) << many << " from " << first;
      }
    }
  }
}

TEST(Limits, BudgetsAndWindows) {
  const auto p = random_problem<float>({300, 4, 4, 2}, 1);
  const Sketch4 sketch = [&] { Sketch4 of; append(of, p.kv()); return of; }();
  const auto kv = with_index(p.kv(), sketch);
  const State dense = attend(Dense{}, p.query(), p.kv());
  for (const std::size_t many : kExtremes) {
    const auto as_position = static_cast<Position>(many / 2);
    EXPECT_NEAR(attend(TopK{many}, p.query(), kv).lse(), dense.lse(), 1e-5) << many;
    EXPECT_NEAR(attend(TopK{many, Source::kSketch4, many}, p.query(), kv).lse(), dense.lse(), 1e-5) << many;
    EXPECT_NEAR(attend(Window{as_position}, p.query(), kv).lse(), dense.lse(), 1e-5) << many;
    EXPECT_NEAR(attend(Sinks{as_position}, p.query(), kv).lse(), dense.lse(), 1e-5) << many;
    EXPECT_NEAR(attend(stack(Window{as_position}, PriorityTail{many}), p.query(), kv).lse(), dense.lse(), 1e-5) << many;
    Query q = p.query();
    q.visible = sliding_window(299, as_position);
    EXPECT_NEAR(attend(Dense{}, q, kv).lse(), dense.lse(), 1e-5) << many;
  }
  EXPECT_EQ(sliding_window(9, std::numeric_limits<Position>::min()).size(), 0);
}

}  // namespace
}  // namespace skim::test
