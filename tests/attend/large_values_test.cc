// SPDX-License-Identifier: Apache-2.0
// The mean of finite values is finite, however large they are: is it what comes out, on every path and from every
// storage type, and does nothing else change by it?
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/layer_problem.h"
#include "support/threads.h"

namespace skim::test {
namespace {

/// The largest number of a storage type.
template <class T>
double largest() {
  if constexpr (std::is_same_v<T, F16>) return 65504;
  else if constexpr (std::is_same_v<T, BF16>) return 0x1.FEp127;
  else if constexpr (std::is_same_v<T, I8>) return 3e38;
  else return static_cast<double>(std::numeric_limits<T>::max());
}

/// Whether out is `expected` (times the largest number) but for rounding: sums of n weights.
template <class Real>
testing::AssertionResult is_near(Real out, double expected, double most, double tolerance) {
  if (std::isfinite(out) && std::abs(static_cast<double>(out) / most - expected) <= tolerance) return testing::AssertionSuccess();
  return testing::AssertionFailure() << out << " is not " << expected << " of " << most;
}

constexpr std::size_t kWide = 24;

/// Values of which column 0 is ordinary, column 1 all as large as can be, column 2 all as large below 0, column 3 of both
/// signs, so that the first sums overflow on either side, and the others are ordinary.
template <class T>
Problem<T> large_values(std::size_t n, std::size_t group, std::uint64_t seed) {
  auto p = random_problem<T>({n, 8, kWide, group}, seed);
  const double most = largest<T>();
  const Matrix ordinary = numbers_of(p.values, n, kWide);
  for (std::size_t i = 0; i < n; ++i) {
    std::vector<double> row(ordinary.numbers.begin() + static_cast<std::ptrdiff_t>(i * kWide),
                            ordinary.numbers.begin() + static_cast<std::ptrdiff_t>((i + 1) * kWide));
    row[1] = most;
    row[2] = -most;
    row[3] = i % 100 < 60 ? most : -most;
    store_row(row.data(), kWide, row_at(p.values, i, kWide));
  }
  return p;
}

/// How much of the mass is at positions of a positive value in column 3.
template <class T, class List>
double balance(const Problem<T>& p, const BasicQuery<RealOf<T>>& q, std::size_t h, const List& list) {
  auto row = reference_query(q, h, p.shape.n);
  if constexpr (std::is_same_v<T, I8>) round_row(row.row);
  Matrix signs{p.shape.n, 1, {}};
  for (std::size_t i = 0; i < p.shape.n; ++i) signs.numbers.push_back(i % 100 < 60 ? 1 : -1);
  return reference_attention(reference_logits(row, numbers_of(p.keys, p.shape.n, 8)), signs, list).out[0];
}

template <class T>
struct LargeValues : testing::Test {};
using Types = testing::Types<float, double, F16, BF16, I8>;
TYPED_TEST_SUITE(LargeValues, Types);

TYPED_TEST(LargeValues, HaveTheirMean) {
  using Real = RealOf<TypeParam>;
  const double most = largest<TypeParam>(), tolerance = std::is_same_v<TypeParam, I8> ? 2e-4 : 4e-5;
  for (const std::size_t group : {1u, 2u, 5u}) {
    for (const std::size_t n : {2u, 17u, 300u, 9000u}) {  // the last in three chunks
      SCOPED_TRACE(testing::Message() << "group of " << group << ", n " << n);
      const auto p = large_values<TypeParam>(n, group, n + group);
      auto q = p.query();
      const auto expect_means = [&](const auto& how, const std::vector<Weighted>& list) {
        const BasicState<Real> state = attend(how, q, p.kv());
        for (std::size_t h = 0; h < group; ++h) {
          EXPECT_TRUE(is_near(state.out(h)[1], 1, most, tolerance));
          EXPECT_TRUE(is_near(state.out(h)[2], -1, most, tolerance));
          EXPECT_TRUE(is_near(state.out(h)[3], balance(p, q, h, list), most, tolerance));
        }
      };
      const auto count = static_cast<Position>(n);
      expect_means(Dense{}, everything(0, count));
      const Selection some = select(TopK{fraction(0.5)}, q, p.kv());
      expect_means(some, list_of(some));
      Selection weighted;
      for (Position i = 0; i < count; i += 2) weighted.add(i, 0.01 * static_cast<double>(i % 300));
      expect_means(weighted, list_of(weighted));
    }
  }
}

// A logit that is larger than all before comes after sums that have overflowed; one of +inf too.
TEST(LargeValuesOrder, TheLargestLogitComesLast) {
  for (const float last : {60.0f, 1e30f, INFINITY}) {
    auto p = large_values<float>(5000, 1, 3);
    std::fill_n(p.q.begin(), 8, 1.0f);
    std::fill_n(p.keys.end() - 8, 8, 0.0f);
    p.keys.back() = last;
    Query q = p.query();
    q.logit.scale = 1;
    const State state = attend(Dense{}, q, p.kv());
    EXPECT_EQ(state.out()[1], std::numeric_limits<float>::max());
    EXPECT_EQ(state.out()[2], -std::numeric_limits<float>::max());
    EXPECT_EQ(state.out()[3], -std::numeric_limits<float>::max());
    EXPECT_EQ(state.out()[5], p.values[4999 * kWide + 5]);
  }
}

// What was finite keeps its bits, and what is infinite or NaN in the values stays it.
TEST(LargeValuesOrder, ChangeNothingElse) {
  auto p = large_values<float>(5000, 3, 4);
  p.values[70 * kWide + 8] = INFINITY;
  p.values[71 * kWide + 9] = -INFINITY;
  p.values[72 * kWide + 10] = NAN;
  auto tame = p;
  for (std::size_t i = 0; i < 5000; ++i) {
    for (std::size_t c = 1; c < 4; ++c) tame.values[i * kWide + c] = 1;
  }
  for (const bool picks : {false, true}) {
    const auto answer = [&](const auto& of) { return picks ? attend(TopK{4000}, of.query(), of.kv()) : attend(Dense{}, of.query(), of.kv()); };
    const State state = answer(p), expected = answer(tame);
    for (std::size_t h = 0; h < 3; ++h) {
      EXPECT_EQ(state.out(h)[0], expected.out(h)[0]);
      EXPECT_TRUE(same_bits(state.out(h) + 4, expected.out(h) + 4, kWide - 4));
      EXPECT_EQ(state.lse(h), expected.lse(h));
      for (std::size_t c = 1; c < 4; ++c) EXPECT_TRUE(std::isfinite(state.out(h)[c]));
    }
    if (picks) continue;  // which may leave these positions out
    EXPECT_EQ(state.out()[8], INFINITY);
    EXPECT_EQ(state.out()[9], -INFINITY);
    EXPECT_TRUE(std::isnan(state.out()[10]));
  }
}

/// Layers whose values in columns 1 to 3 are large, on one path; every row must be near the mean, and columns of ordinary
/// values must have the bits of a layer in which all are.
template <class T>
void expect_layer_means(std::size_t rows, const Executor& executor) {
  LayerProblem<T> p({4, 2, 8, kWide}, {{rows, 5000}}, 5), tame({4, 2, 8, kWide}, {{rows, 5000}}, 5);
  for (std::size_t i = 0; i < 2; ++i) {
    p.heads[i] = tame.heads[i] = large_values<T>(5000, 1, i);
    for (std::size_t j = 0; j < 5000; ++j) {
      for (std::size_t c = 1; c < 4; ++c) tame.heads[i].values[j * kWide + c] = stored<T>(1);
    }
    p.views[i] = p.heads[i].kv(), tame.views[i] = tame.heads[i].kv();
  }
  const float sinks[] = {0, -INFINITY, 1, 2};
  LayerQuery query = p.query(), same = tame.query();
  same.sink_logits = sinks;
  query.sink_logits = sinks;
  LayerOutput output(p), expected(tame);
  Options options;
  options.executor = executor;
  attend(Dense{}, query, p.kv(), output.state(), options);
  attend(Dense{}, same, tame.kv(), expected.state(), options);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t h = 0; h < 4; ++h) {
      const auto row = output.row(r, h), other = expected.row(r, h);
      const double kept = double{other.out.data[1]};  // the sink takes the rest
      EXPECT_TRUE(is_near(row.out.data[1], kept, largest<T>(), 1e-5));
      EXPECT_TRUE(is_near(row.out.data[2], -kept, largest<T>(), 1e-5));
      EXPECT_TRUE(std::isfinite(row.out.data[3]));
      EXPECT_EQ(row.out.data[0], other.out.data[0]);
      EXPECT_TRUE(same_bits(row.out.data + 4, other.out.data + 4, kWide - 4));
    }
  }
}

TEST(LargeValuesOfALayer, OneRow) { expect_layer_means<float>(1, {}); }
TEST(LargeValuesOfALayer, OneRowOnManyThreads) { expect_layer_means<float>(1, backwards(5)); }
TEST(LargeValuesOfALayer, ManyRows) { expect_layer_means<float>(20, {}); }
TEST(LargeValuesOfALayer, ManyRowsOnThreads) { expect_layer_means<float>(20, real_threads(2)); }

// Parts of a state: their mean, in either order.
TEST(LargeValuesMerged, HaveTheirMean) {
  constexpr float kMost = std::numeric_limits<float>::max();
  for (const float a : {3e38f, -3e38f, kMost}) {
    for (const float b : {3e38f, -3e38f, kMost, 1.0f}) {
      for (const float apart : {0.0f, 0.1f, 3.0f, 200.0f}) {
        std::vector<float> out = {a}, other = {b};
        float lse = 1, other_lse = 1 - apart;
        merge(StateView{{out.data(), 1, 1}, &lse}, StateView{{other.data(), 1, 1}, &other_lse});
        const double share = std::exp(double{-apart});
        EXPECT_TRUE(is_near(out[0], (double{a} + share * double{b}) / (1 + share) / double{kMost}, double{kMost}, 1e-6));
        std::vector<float> turned = {b}, one = {a};
        float turned_lse = 1 - apart, one_lse = 1;
        merge(StateView{{turned.data(), 1, 1}, &turned_lse}, StateView{{one.data(), 1, 1}, &one_lse});
        EXPECT_EQ(turned[0], out[0]);
      }
    }
  }
  for (const float a : {INFINITY, NAN}) {  // these stay
    std::vector<float> out = {3e38f}, other = {a};
    float lse = 0, other_lse = 0;
    merge(StateView{{out.data(), 1, 1}, &lse}, StateView{{other.data(), 1, 1}, &other_lse});
    EXPECT_FALSE(std::isfinite(out[0]));
  }
}

}  // namespace
}  // namespace skim::test
