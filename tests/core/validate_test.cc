// SPDX-License-Identifier: Apache-2.0
// Each thing that does not fit is refused, with both numbers in the text.
#include "skim/core/validate.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "core/expect_error.h"
#include "skim/core/storage.h"

namespace {

using skim::ContiguousKv;
using skim::F16;
using skim::PagedKv;
using skim::Position;
using skim::Query;
using skim::Rows;
using skim::Selection;
using skim::Span;
using skim::StateView;
using skim::test::expect_error;

constexpr std::ptrdiff_t kFar = std::numeric_limits<std::ptrdiff_t>::max();
constexpr std::size_t kHuge = std::numeric_limits<std::size_t>::max();

/// A head of 10 positions with keys of 4 and values of 3, and a query of 2 heads: all fits.
struct Fitting {
  std::vector<float> keys = std::vector<float>(40), values = std::vector<float>(30),
                     q_rows = std::vector<float>(8), out = std::vector<float>(6),
                     lse = std::vector<float>(2);
  ContiguousKv<float> kv{{keys.data(), 10, 4}, {values.data(), 10, 3}};
  Query q{.rows = {q_rows.data(), 2, 4}};
  StateView state{{out.data(), 2, 3}, lse.data(), 1};

  void check() const {
    skim::Buffer<std::uint64_t> seen;
    skim::check_kv(kv, seen);
    skim::check_query(q, kv);
    skim::check_state(state, q, kv);
  }
};

/// The same in 4 pages of 3 of a pool of 6.
struct Paged {
  std::vector<float> pool = std::vector<float>(6 * 3 * 7);
  std::vector<std::int32_t> table{5, 0, 2, 1};
  PagedKv<float> kv{10, 3, table, 6, {pool.data(), 4, 21, 7}, {pool.data() + 4, 3, 21, 7}};

  void check() const {
    skim::Buffer<std::uint64_t> seen;
    skim::check_kv(kv, seen);
  }
};

/// Applies `change` to something that fits, and expects an error.
template <class T = Fitting, class Change>
void expect_refused(const Change& change, std::initializer_list<const char*> parts) {
  T all;
  ASSERT_NO_THROW(all.check());
  change(all);
  expect_error([&] { all.check(); }, parts);
}

TEST(Validate, Keys) {
  expect_refused([](Fitting& f) { f.kv.values.rows = 9; }, {"10 keys", "9 values"});
  expect_refused([](Fitting& f) { f.kv.keys.cols = 0; }, {"keys", "0 columns", "at least 1"});
  expect_refused([](Fitting& f) { f.kv.values.cols = 0; }, {"values", "0 columns", "at least 1"});
  expect_refused([](Fitting& f) { f.kv.keys.data = nullptr; }, {"keys", "null", "10 rows"});
  expect_refused([](Fitting& f) { f.kv.values.data = nullptr; }, {"values", "null", "10 rows"});
  expect_refused([](Fitting& f) { f.kv.keys.stride = kFar; },
                 {"keys", "10 rows", "9223372036854775807"});
  expect_refused([](Fitting& f) { f.kv.keys.stride = -kFar; },
                 {"keys", "10 rows", "-9223372036854775807"});
  expect_refused([](Fitting& f) { f.kv.keys.rows = f.kv.values.rows = kHuge; },
                 {"keys", "18446744073709551615"});
  // 2^60 rows of 4 floats: the number of elements fits in 64 bits, that of bytes does not.
  expect_refused([](Fitting& f) { f.kv.keys.rows = f.kv.values.rows = std::size_t{1} << 60; },
                 {"1152921504606846976", "overflow"});
  expect_refused([](Fitting& f) { f.kv.keys.cols = kHuge; }, {"keys"});
}

// A row of d bytes has a scale behind it: a stride of d would read the next row as one.
TEST(Validate, RowsOfI8HoldTheirScales) {
  std::vector<skim::I8> rows(200);
  const auto check = [](const auto& kv) {
    skim::Buffer<std::uint64_t> seen;
    skim::check_kv(kv, seen);
  };
  const auto flat = [&](std::ptrdiff_t key_stride, std::ptrdiff_t value_stride, std::size_t n = 10) {
    return ContiguousKv<skim::I8>{{rows.data() + 100, n, 8, key_stride},
                                  {rows.data() + 100, n, 6, value_stride}};
  };
  EXPECT_NO_THROW(check(ContiguousKv<skim::I8>{{rows.data(), 10, 8}, {rows.data(), 10, 6}}));
  for (const std::ptrdiff_t stride : {12, 13, -12, 100, 0})
    EXPECT_NO_THROW(check(flat(stride, stride)));
  EXPECT_NO_THROW(check(flat(8, 6, 1)));  // one row has no stride
  expect_error([&] { check(flat(8, 10)); }, {"keys of int8", "stride is 8", "take 12"});
  expect_error([&] { check(flat(-11, 10)); }, {"keys of int8", "stride is -11", "take 12"});
  expect_error([&] { check(flat(12, 6)); }, {"values of int8", "stride is 6", "take 10"});
  EXPECT_NO_THROW(check(ContiguousKv<F16, float>{{nullptr, 0, 8, 3}, {nullptr, 0, 6, 3}}));

  const std::vector<std::int32_t> table{1, 0};
  PagedKv<skim::I8> fits{6, 3, table, 2, {rows.data(), 8, 66, 22}, {rows.data() + 12, 6, 66, 22}};
  EXPECT_NO_THROW(check(fits));
  auto kv = fits;
  kv.keys.row_stride = 8;
  expect_error([&] { check(kv); }, {"rows of a key page", "stride is 8", "take 12"});
  kv = fits;
  kv.values.row_stride = 9;
  expect_error([&] { check(kv); }, {"rows of a value page", "stride is 9", "take 10"});
  kv = fits;
  kv.keys.page_stride = 11;
  expect_error([&] { check(kv); }, {"key pages", "stride is 11", "take 12"});
  kv.n = 3;  // one page: its stride is not used
  EXPECT_NO_THROW(check(kv));
  kv = fits;
  kv.n = 2;
  kv.page_size = 1;
  kv.keys.row_stride = 1;  // a page of one row: nor is that
  EXPECT_NO_THROW(check(kv));
}

TEST(Validate, EmptyHeadsMayBeNull) {
  Fitting f;
  f.kv = {{nullptr, 0, 4}, {nullptr, 0, 3}};
  EXPECT_NO_THROW(f.check());
  Paged p;
  p.kv.n = 0;
  p.kv.table = {};
  p.kv.keys.data = p.kv.values.data = nullptr;
  EXPECT_NO_THROW(p.check());
}

TEST(Validate, Queries) {
  expect_refused([](Fitting& f) { f.q.rows.cols = 3; }, {"q has 3 columns", "keys have 4"});
  expect_refused([](Fitting& f) { f.q.rows.data = nullptr; }, {"q is null", "2 rows"});
  expect_refused([](Fitting& f) { f.q.position = -2; }, {"position is -2", "at least 0"});
  expect_refused([](Fitting& f) { f.q.logit.scale = std::numeric_limits<double>::infinity(); },
                 {"scale is inf", "finite"});
  expect_refused([](Fitting& f) { f.q.logit.scale = std::numeric_limits<double>::quiet_NaN(); },
                 {"scale is nan", "finite"});
  expect_refused([](Fitting& f) { f.q.logit.soft_cap = -1; }, {"soft_cap is -1", "at least 0"});
  expect_refused([](Fitting& f) { f.q.logit.soft_cap = std::numeric_limits<double>::infinity(); },
                 {"soft_cap is inf"});
  Fitting fine;
  fine.q.logit = {.scale = -0.5, .soft_cap = 50};
  fine.q.position = 1000;
  EXPECT_NO_THROW(fine.check());
}

// A number is what it is in the type that computes with it: 1e39 is infinite in float, 1e-46 is 0, and 1e-40 may be.
TEST(Validate, NumbersAsTheyAreUsed) {
  const auto check = [](auto zero, const skim::LogitRule& rule) { skim::check_rule<decltype(zero)>(rule, 3); };
  for (const double scale : {0.0, -0.0, 1e39, -1e39, 1e-46, 1e-40}) {
    const std::string text = scale == 0 ? "scale is" : scale > 1 ? "scale is 1e+39" : "scale is ";
    expect_error([&] { check(0.0f, {.scale = scale}); }, {text.c_str(), "in float", "1 / sqrt(d)"});
  }
  for (const double scale : {1e39, -1e39, 1e-46, -1e-40}) EXPECT_NO_THROW(check(0.0, {.scale = scale}));
  for (const double scale : {3e38, -3e38, 2e-38}) EXPECT_NO_THROW(check(0.0f, {.scale = scale}));
  for (const double scale : {0.0, 1e-310}) expect_error([&] { check(0.0, {.scale = scale}); }, {"in double"});
  for (const double cap : {1e39, 1e-46, 1e-40, 3e38}) {
    expect_error([&] { check(0.0f, {.soft_cap = cap}); }, {"soft_cap is", "in float", "(0: none)"});
    EXPECT_NO_THROW(check(0.0, {.soft_cap = cap}));
  }
  for (const double cap : {0.0, -0.0, 2e-38, 50.0, 1e30}) EXPECT_NO_THROW(check(0.0f, {.soft_cap = cap}));
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    const float slopes[] = {0.5f, -3e38f, bad};
    expect_error([&] { check(0.0f, {.alibi_slopes = slopes}); }, {"ALiBi slope 2 of 3", "finite"});
    EXPECT_NO_THROW(skim::check_rule<float>({.alibi_slopes = slopes}, 2)) << "the third is not read";
  }
}

TEST(Validate, Executors) {
  const auto run = [](void*, std::size_t, skim::Executor::Task, void*) {};
  EXPECT_NO_THROW(skim::check_executor({}));
  EXPECT_NO_THROW(skim::check_executor({1, run}));
  EXPECT_NO_THROW(skim::check_executor({7, run}));
  expect_error([] { skim::check_executor({0, nullptr}); }, {"threads", "is 0", "at least 1"});
  expect_error([&] { skim::check_executor({0, run}); }, {"threads", "is 0", "at least 1"});
  expect_error([] { skim::check_executor({4, nullptr}); }, {"4 threads", "run is null"});
}

TEST(Validate, States) {
  expect_refused([](Fitting& f) { f.state.out.rows = 1; }, {"out has 1 rows", "q has 2"});
  expect_refused([](Fitting& f) { f.state.out.cols = 2; }, {"out has 2 columns", "values have 3"});
  expect_refused([](Fitting& f) { f.state.out.stride = 2; }, {"stride is 2", "3 columns"});
  expect_refused([](Fitting& f) { f.state.out.stride = -2; }, {"stride is -2", "3 columns"});
  expect_refused([](Fitting& f) { f.state.out.data = nullptr; }, {"out is null"});
  expect_refused([](Fitting& f) { f.state.lse = nullptr; }, {"lse is null", "2 rows"});
  expect_refused([](Fitting& f) { f.state.lse_stride = 0; }, {"lse_stride is 0", "2 rows"});
  expect_refused([](Fitting& f) { f.state.out.data = f.q_rows.data() + 2; }, {"out overlaps q"});
  expect_refused([](Fitting& f) { f.state.lse = f.out.data() + 4; }, {"lse overlaps out"});
  expect_refused([](Fitting& f) { f.state.lse = f.q_rows.data() + 6; }, {"lse overlaps q"});
  expect_refused([](Fitting& f) { f.state.out.data = f.keys.data() + 30; }, {"out overlaps keys"});
  expect_refused([](Fitting& f) { f.state.out.data = f.values.data() + 29; }, {"out overlaps values"});
  expect_refused([](Fitting& f) { f.state.lse = f.values.data() + 4; }, {"lse overlaps values"});
}

// One buffer with all that belongs to a token, or to a head, is legal: rows in between are no overlap.
TEST(Validate, InterleavedStatesAreAccepted) {
  Fitting f;
  std::vector<float> all(10 * 12);  // tokens of [key 4, value 3, out 3, lse 1, spare 1]
  f.kv = {{all.data(), 10, 4, 12}, {all.data() + 4, 10, 3, 12}};
  f.state = {{all.data() + 7, 2, 3, 12}, all.data() + 10, 12};
  EXPECT_NO_THROW(f.check());
  f.state.out.stride = -12;
  f.state.out.data += 12;
  EXPECT_NO_THROW(f.check());
  f.state = {{all.data() + 9 * 12 + 7, 2, 3, 3}, f.lse.data(), 1};  // of other strides, behind the last value
  f.kv.keys.rows = f.kv.values.rows = 10;
  EXPECT_NO_THROW(f.check());
  f.state = {{all.data() + 7, 2, 3, 7}, f.lse.data(), 1};  // the second row is at 14 to 16, key 1 at 12 to 15
  expect_error([&] { f.check(); }, {"out overlaps keys"});
}

TEST(Validate, StatesAmongPages) {
  Paged p;  // rows of [key 4, value 3], pages of 3, page 3 and 4 of the pool are not used
  const auto check = [&](const float* at, std::size_t count) {
    skim::check_apart("out", skim::memory_of(Rows<const float>{at, 1, count}), p.kv);
  };
  EXPECT_NO_THROW(check(p.pool.data() + 3 * 21, 2 * 21));
  EXPECT_NO_THROW(check(p.pool.data() + 21 + 7, 14)) << "page 1 holds one position";
  expect_error([&] { check(p.pool.data() + 3 * 21, 2 * 21 + 1); }, {"out overlaps keys"});
  expect_error([&] { check(p.pool.data() + 3 * 21 - 1, 3); }, {"out overlaps values"});
  expect_error([&] { check(p.pool.data() + 21 + 6, 14); }, {"out overlaps values"});
}

TEST(Validate, Pages) {
  expect_refused<Paged>([](Paged& p) { p.kv.n = 13; }, {"13 positions", "5 pages of 3", "table has 4"});
  expect_refused<Paged>([](Paged& p) { p.table[2] = 6; }, {"entry 2", "is 6", "6 pages"});
  expect_refused<Paged>([](Paged& p) { p.table[1] = -1; }, {"entry 1", "is -1", "6 pages"});
  expect_refused<Paged>([](Paged& p) { p.table[3] = 5; }, {"entry 3", "repeats page 5"});
  expect_refused<Paged>([](Paged& p) { p.kv.page_size = 0; }, {"page_size is 0", "at least 1"});
  expect_refused<Paged>([](Paged& p) { p.kv.keys.cols = 0; }, {"keys", "0 columns"});
  expect_refused<Paged>([](Paged& p) { p.kv.values.cols = 0; }, {"values", "0 columns"});
  expect_refused<Paged>([](Paged& p) { p.kv.values.data = nullptr; }, {"null", "10 positions"});
  expect_refused<Paged>([](Paged& p) { p.kv.keys.page_stride = kFar; }, {"key pages", "6 rows"});
  expect_refused<Paged>([](Paged& p) { p.kv.values.row_stride = -kFar; },
                        {"rows of a value page", "3 rows"});
  expect_refused<Paged>([](Paged& p) { p.kv.page_size = kHuge; }, {"18446744073709551615"});
  expect_refused<Paged>([](Paged& p) { p.kv.keys.page_stride = 0; }, {"page_stride of keys is 0", "4 pages", "3 * 7"});
  expect_refused<Paged>([](Paged& p) { p.kv.values.page_stride = 0; }, {"page_stride of values is 0", "4 pages"});
  Paged one;
  one.kv.n = 3;
  one.kv.keys.page_stride = one.kv.values.page_stride = 0;
  EXPECT_NO_THROW(one.check()) << "of one page there is no step";
}

// The table of a real cache is longer than what is used, and the rest is stale.
TEST(Validate, UnusedEntriesOfThePageTableDoNotMatter) {
  Paged p;
  p.kv.n = 9;
  p.table[3] = -77;
  EXPECT_NO_THROW(p.check());
  p.table[3] = p.table[0];
  EXPECT_NO_THROW(p.check());
}

TEST(Validate, LargePools) {
  std::vector<std::int32_t> table(1000);
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<std::int32_t>(997 * i % 1009);
  const float some = 0;
  PagedKv<float> kv{16000, 16, table, 1009, {&some, 1, 1, 0}, {&some, 1, 1, 0}};
  skim::Buffer<std::uint64_t> seen;
  EXPECT_NO_THROW(skim::check_kv(kv, seen));
  EXPECT_NO_THROW(skim::check_kv(kv, seen)) << "the marks of the last check are gone";
  table[999] = table[63];
  expect_error([&] { skim::check_kv(kv, seen); }, {"entry 999", std::to_string(table[63]).c_str()});
}

Selection selection(std::initializer_list<Span> spans, std::initializer_list<Position> picks) {
  Selection s;
  for (const Span span : spans) s.add(span);
  for (const Position pick : picks) s.add(pick, 0.5);
  return s;
}

TEST(Validate, SelectionsInOrderAreAccepted) {
  const Span visible{10, 50};
  EXPECT_NO_THROW(skim::check_selection(Selection(), visible));
  EXPECT_NO_THROW(
      skim::check_selection(selection({{10, 20}, {20, 21}, {49, 50}}, {21, 30, 48}), visible));
  EXPECT_NO_THROW(skim::check_selection(selection({}, {10, 49}), visible));
}

TEST(Validate, SelectionsOutOfOrderAreRefused) {
  const Span visible{10, 50};
  const auto refuse = [&](const Selection& s, std::initializer_list<const char*> parts) {
    expect_error([&] { skim::check_selection(s, visible); }, parts);
  };
  refuse(selection({{9, 12}}, {}), {"span 0", "[9, 12)", "[10, 50)"});
  refuse(selection({{49, 51}}, {}), {"span 0", "[49, 51)", "[10, 50)"});
  refuse(selection({{10, 20}, {19, 22}}, {}), {"span 1", "[19, 22)", "[20, 50)"});
  refuse(selection({{30, 40}, {10, 20}}, {}), {"span 1", "[10, 20)", "[40, 50)"});
  refuse(selection({}, {9}), {"pick 0", "position 9", "[10, 50)"});
  refuse(selection({}, {50}), {"pick 0", "position 50", "[10, 50)"});
  refuse(selection({}, {20, 20}), {"pick 1", "position 20", "[21, 50)"});
  refuse(selection({}, {20, 15}), {"pick 1", "position 15", "[21, 50)"});
  refuse(selection({{12, 15}, {20, 30}}, {11, 20}), {"pick 1", "position 20", "span 1", "[20, 30)"});
  refuse(selection({{12, 15}}, {14}), {"pick 0", "position 14", "span 0", "[12, 15)"});
}

TEST(Validate, LogWeightsMustBeFinite) {
  for (const double w :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::infinity()}) {
    Selection s;
    s.add(3, 0.0);
    s.add(4, w);
    expect_error([&] { skim::check_selection(s, {0, 10}); }, {"pick 1", "position 4", "finite"});
  }
}

// Against a comparison byte by byte.
TEST(Validate, OverlapIsExactForEqualStridesAndNeverMissesOne) {
  std::mt19937 random(5);
  const auto draw = [&](int low, int high) { return std::uniform_int_distribution(low, high)(random); };
  const auto touched = [](const Rows<const float>& m, std::ptrdiff_t base, std::vector<int>& marks) {
    int shared = 0;
    for (std::size_t r = 0; r < m.rows; ++r) {
      for (std::size_t c = 0; c < m.cols; ++c) {
        const auto at = static_cast<std::size_t>(base + static_cast<std::ptrdiff_t>(r) * m.stride) + c;
        shared += marks[at];
      }
    }
    for (std::size_t r = 0; r < m.rows; ++r) {
      for (std::size_t c = 0; c < m.cols; ++c) {
        marks[static_cast<std::size_t>(base + static_cast<std::ptrdiff_t>(r) * m.stride) + c] = 1;
      }
    }
    return shared != 0;
  };
  const std::vector<float> memory(400);
  int overlaps = 0, apart = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    const int stride = draw(1, 12), other = draw(0, 1) ? stride : draw(-12, 12);
    const std::ptrdiff_t a_base = draw(150, 200), b_base = draw(150, 200);
    // Rows of one matrix may not reach into the next one, as in any real layout.
    const Rows<const float> a{memory.data() + a_base, static_cast<std::size_t>(draw(0, 6)),
                              static_cast<std::size_t>(draw(1, stride)), stride};
    const Rows<const float> b{memory.data() + b_base, static_cast<std::size_t>(draw(0, 6)),
                              static_cast<std::size_t>(draw(1, std::max(1, std::abs(other)))), other};
    std::vector<int> marks(400);
    touched(a, a_base, marks);
    const bool shared = touched(b, b_base, marks);
    if (shared) {
      ASSERT_TRUE(skim::overlap(a, b) && skim::overlap(b, a)) << "missed, trial " << trial;
      ++overlaps;
    } else if (stride == other) {
      ASSERT_FALSE(skim::overlap(a, b) || skim::overlap(b, a)) << "false alarm, trial " << trial;
      ++apart;
    }
  }
  EXPECT_GT(overlaps, 1000);
  EXPECT_GT(apart, 1000);
}

TEST(Validate, OverlapSeesThroughTypes) {
  alignas(4) F16 memory[16] = {};
  const Rows<const F16> halves{memory, 1, 8};
  const Rows<const float> apart{reinterpret_cast<const float*>(memory + 8), 1, 4};
  const Rows<const float> across{reinterpret_cast<const float*>(memory + 6), 1, 4};
  EXPECT_FALSE(skim::overlap(halves, apart));
  EXPECT_TRUE(skim::overlap(halves, across));
}

}  // namespace
