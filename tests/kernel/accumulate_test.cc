// SPDX-License-Identifier: Apache-2.0
// What a chunk adds up to, and how chunks are merged.
#include "skim/kernel/accumulate-inl.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "support/problem.h"
#include "support/selections.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

using test::Problem;
using test::RealOf;
using test::every;
using test::selection_of;
using test::Spans;

// ---- the softmax of a block ----

template <class Real>
class Softmax : public ::testing::Test {};
using Reals = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Softmax, Reals);

TYPED_TEST(Softmax, ExpBelowHoldsAtTheEnds) {
  using Real = TypeParam;
  const auto of = [](Real x, Real max) { return hn::GetLane(exp_below(hn::Set(Tag<Real>(), x), max)); };
  const Real infinity = kInfinity<Real>, nan = std::numeric_limits<Real>::quiet_NaN();
  EXPECT_EQ(of(3, 3), 1);
  EXPECT_EQ(of(infinity, infinity), 1);
  EXPECT_EQ(of(-infinity, -infinity), 0);
  EXPECT_EQ(of(-infinity, 3), 0);
  EXPECT_EQ(of(3, infinity), 0);
  EXPECT_EQ(of(-infinity, infinity), 0);
  EXPECT_NEAR(of(1, 3), std::exp(-2.0), 1e-7);
  for (const Real max : {Real{3}, infinity, -infinity, nan})
    EXPECT_TRUE(std::isnan(of(nan, max))) << max;
  EXPECT_TRUE(std::isnan(of(3, nan)));
}

TYPED_TEST(Softmax, GrowsWithItsMaximum) {
  using Real = TypeParam;
  alignas(64) Real block[3][kBlock];
  std::vector<double> all;
  for (std::size_t b = 0; b < 3; ++b) {
    for (std::size_t t = 0; t < kBlock; ++t) {
      block[b][t] = static_cast<Real>(static_cast<double>((t * 5 + b) % 16) / 4 + (b == 1 ? 2 : 0));
      all.push_back(block[b][t]);
    }
  }
  Real max = -kInfinity<Real>, sum = 0;
  EXPECT_EQ(soften(block[0], max, sum), 0) << "nothing before";
  const Real first_max = max;
  const Real rescale = soften(block[1], max, sum);
  EXPECT_NEAR(rescale, std::exp(static_cast<double>(first_max - max)), 1e-6);
  EXPECT_EQ(soften(block[2], max, sum), 1) << "the maximum stays";
  EXPECT_EQ(max, *std::max_element(all.begin(), all.end()));
  double expected = 0;
  for (const double x : all) expected += std::exp(x - static_cast<double>(max));
  EXPECT_NEAR(sum, expected, 1e-5);
  for (std::size_t t = 0; t < kBlock; ++t)
    EXPECT_NEAR(block[2][t], std::exp(all[32 + t] - static_cast<double>(max)), 1e-6);
}

// ---- chunks added up ----

/// The kernel as the calls use it: chunk after chunk, then normalised. `order`: null for that of the library.
/// `know`: all logits are computed first, and used again.
template <class K, class V>
BasicState<RealOf<K>> attention(const Problem<K, V>& p, const BasicQuery<RealOf<K>>& query,
                                const Selection& s, const Reading* order = nullptr, bool know = false) {
  using Real = RealOf<K>;
  Workspace ws;
  const auto q = query.resolved(static_cast<Position>(p.shape.n));
  const auto kv = p.kv();
  const std::size_t padded = round_up(p.shape.d_v, kStep<Real>),
                    size = Partial<Real>::size(q.heads(), padded);
  Buffer<Real> memory, scratch;
  memory.resize(2 * size);
  scratch.resize(chunk_scratch(q.heads()));
  const auto total = Partial<Real>::at(memory.data(), q.heads(), padded);
  const auto part = Partial<Real>::at(memory.data() + size, q.heads(), padded);
  const Logits<Real> known = know ? logits(q, kv, ws) : Logits<Real>{};
  const auto lanes = lane_query<K>(q, ws);
  const Reading usual = reading<K>(q.heads());
  total.clear(q.heads(), padded);
  for_each_chunk(s, [&](const Chunk& chunk) {
    accumulate_chunk(lanes, known, kv, s, chunk, order ? *order : usual, part, scratch.data());
    merge_partial(total, part, q.heads(), padded);
  });
  BasicState<Real> state(q.heads(), p.shape.d_v);
  finish<V>(total, padded, state.view());
  merge_sinks(q, state.view());
  return state;
}

/// Against the reference within the bound of support/close.h.
template <class K, class V>
void expect_close(const Problem<K, V>& p, const BasicQuery<RealOf<K>>& q, const Selection& s) {
  auto state = attention(p, q, s);
  EXPECT_TRUE(test::agrees(state.view(), p, q, test::list_of(s)))
      << "d " << p.shape.d << ", d_v " << p.shape.d_v << ", group " << p.shape.group;
}

template <class K, class V>
struct Stored {
  using Key = K;
  using Value = V;
};
template <class T>
class Accumulate : public ::testing::Test {};
using KeysAndValues = ::testing::Types<Stored<float, float>, Stored<F16, F16>, Stored<BF16, BF16>,
                                       Stored<float, BF16>, Stored<BF16, F16>, Stored<I8, I8>, Stored<BF16, I8>,
                                       Stored<double, double>>;
TYPED_TEST_SUITE(Accumulate, KeysAndValues);

// Every group size with every way a row of values can end.
TYPED_TEST(Accumulate, GroupsAndValueSizes) {
  const Selection s = selection_of({{0, 4}, {30, 71}}, every(2, 4, 30));
  for (const std::size_t d_v :
       {1u, 3u, 7u, 15u, 16u, 17u, 32u, 33u, 63u, 64u, 65u, 80u, 127u, 128u, 200u, 512u}) {
    for (const std::size_t group : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u}) {
      const auto p = test::random_problem<typename TypeParam::Key, typename TypeParam::Value>(
          {71, 9, d_v, group}, d_v + group);
      expect_close(p, p.query(), s);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TYPED_TEST(Accumulate, BlockAndChunkEdges) {
  for (const std::size_t n : {1u, 15u, 16u, 17u, 4095u, 4096u, 4097u, 8193u, 13000u}) {
    const auto p =
        test::random_problem<typename TypeParam::Key, typename TypeParam::Value>({n, 8, 5, 3}, n);
    const auto last = static_cast<Position>(n);
    expect_close(p, p.query(), selection_of({{0, last}}));
    expect_close(p, p.query(), selection_of({}, every(1, 0, last)));
    expect_close(p, p.query(), selection_of({{last / 2, last}}, every(1, 0, last / 2)));
    if (::testing::Test::HasFailure()) FAIL() << "n " << n;
  }
}

// In what order keys and values are read, and whether the logits are known before, is about speed alone.
TYPED_TEST(Accumulate, ReadingOrderAndKnownLogitsChangeNoBit) {
  constexpr std::size_t kKeys = 5000, kGroup = 5;
  const auto p = test::random_problem<typename TypeParam::Key, typename TypeParam::Value>(
      {kKeys, 37, 21, kGroup}, 3);
  const float slopes[kGroup] = {0.5f, 0.3f, 0.1f, 0.07f, 0.01f};
  auto q = p.query();
  q.visible = {70, kKeys};  // known logits begin there
  q.logit = {.scale = 0.4, .soft_cap = 3, .alibi_slopes = slopes};
  for (const Selection& s : {selection_of({{70, kKeys}}),
                             selection_of({{75, 81}, {90, 700}, {4000, 4500}}, every(3, 700, 3990)),
                             selection_of({}, every(7, 71, kKeys)), selection_of({{80, 97}})}) {
    auto expected = attention(p, q, s);
    const auto expect_same = [&](BasicState<RealOf<typename TypeParam::Key>> state, const char* what) {
      EXPECT_TRUE(test::same_bits(state.out(), expected.out(), kGroup * p.shape.d_v)) << what;
      for (std::size_t h = 0; h < kGroup; ++h) EXPECT_EQ(state.lse(h), expected.lse(h)) << what;
    };
    for (const std::size_t stretch : {kBlock, 2 * kBlock, 7 * kBlock, kMostBlocks * kBlock}) {
      for (const Prefetch prefetch : {Prefetch::kNone, Prefetch::kOther, Prefetch::kSame}) {
        const Reading order{stretch, prefetch};
        expect_same(attention(p, q, s, &order), "computed");
        expect_same(attention(p, q, s, &order, true), "known");
      }
    }
  }
}

// One key of weight 1 and 65535 of about e^-17.5 = 2^-25 each, which vanish one by one in a float sum
// that starts at 1. Together they are 0.002; blocks are summed on their own first.
TYPED_TEST(Accumulate, LongTailsDoNotStagnate) {
  using Key = typename TypeParam::Key;
  using Value = typename TypeParam::Value;
  constexpr std::size_t kKeys = 65536;
  std::mt19937 random(7);
  std::uniform_real_distribution<double> logit(-18.5, -16.5);
  Problem<Key, Value> p;
  p.shape = {kKeys, 1, 1, 1};
  p.q = {1};
  long double sum = 0, tail = 0;
  for (std::size_t i = 0; i < kKeys; ++i) {
    const double key = i == 0 ? 0.0 : logit(random), value = i == 0 ? 0.0 : 1.0;
    p.keys.resize((i + 1) * row_values<Key>(1));
    test::store_row(&key, 1, test::row_at(p.keys, i, 1));
    p.values.resize((i + 1) * row_values<Value>(1));
    test::store_row(&value, 1, test::row_at(p.values, i, 1));
  }
  const test::Matrix keys = test::numbers_of(p.keys, kKeys, 1);
  for (std::size_t i = 0; i < kKeys; ++i) {
    const long double weight = std::exp(static_cast<long double>(keys(i, 0)));
    sum += weight;
    tail += i == 0 ? 0 : weight;
  }
  auto q = p.query();
  q.logit.scale = 1.0;
  const auto state = attention(p, q, selection_of({{0, kKeys}}));
  const double epsilon = test::Arithmetic<RealOf<Key>>::kEpsilon;
  ASSERT_GT(tail, 1e-3);
  // 256 roundings of a sum of 1 in the first chunk, taken as random; the tail alone has no large sum.
  EXPECT_NEAR(state.lse(), static_cast<double>(std::log(sum)), 4 * 16 * epsilon);
  const double bound = test::Arithmetic<RealOf<Key>>::kExp + 4 * 16 * epsilon;
  EXPECT_NEAR(state.out()[0] / static_cast<double>(tail / sum), 1.0, bound);
}

TYPED_TEST(Accumulate, NothingSelected) {
  const auto p =
      test::random_problem<typename TypeParam::Key, typename TypeParam::Value>({20, 8, 5, 2}, 1);
  const auto state = attention(p, p.query(), Selection());
  for (std::size_t h = 0; h < 2; ++h) {
    for (std::size_t c = 0; c < 5; ++c) EXPECT_EQ(state.out(h)[c], 0);
    EXPECT_EQ(state.lse(h), -std::numeric_limits<double>::infinity());
  }
}

TYPED_TEST(Accumulate, SinkLogitsOfEveryHead) {
  const auto p =
      test::random_problem<typename TypeParam::Key, typename TypeParam::Value>({50, 8, 5, 3}, 1);
  const float sinks[] = {2.0f, -30.0f, 9.0f};
  auto q = p.query();
  q.sink_logits = sinks;
  expect_close(p, q, selection_of({{0, 50}}));
}

// Logits alike up to a shift: nothing overflows, and no finite number stands for -inf.
TEST(AccumulateExtremes, ShiftsOfAllLogits) {
  constexpr std::size_t kKeys = 5000;
  for (const float shift : {-1e6f, 1e6f, -1e30f, 1e30f}) {
    auto p = test::random_problem<float>({kKeys, 1, 2, 1}, 3);
    p.q[0] = 1;
    for (float& k : p.keys) k = shift;
    Query q = p.query();
    q.logit.scale = 1.0;
    const State state = attention(p, q, selection_of({{0, kKeys}}));
    double mean = 0;
    for (std::size_t i = 0; i < kKeys; ++i) mean += p.values[2 * i] / static_cast<double>(kKeys);
    EXPECT_NEAR(state.out()[0], mean, 1e-6) << shift;
    EXPECT_NEAR(state.lse(), shift + std::log(5000.0), 1e-6 * std::abs(shift)) << shift;
  }
}

// f16 values of +-60000 and logits beyond what f16 holds: the arithmetic is float.
TEST(AccumulateExtremes, HalfPrecisionIsStorageOnly) {
  constexpr std::size_t kKeys = 65536;
  Problem<F16> p;
  p.shape = {kKeys, 2, 1, 1};
  p.q = {300, 0};
  p.keys.assign(2 * kKeys, from_float<F16>(300.0f));  // logits of 90000
  p.values.assign(kKeys, from_float<F16>(60000.0f));
  Query q = p.query();
  q.logit.scale = 1.0;
  const State state = attention(p, q, selection_of({{0, kKeys}}));
  EXPECT_NEAR(state.out()[0], 60000.0f, 0.1f);
  EXPECT_NEAR(state.lse(), 90000 + std::log(65536.0), 0.02);
}

/// One key a logit: q = 1, d = 1, scale 1.
Problem<float> with_logits(const std::vector<float>& logits) {
  Problem<float> p;
  p.shape = {logits.size(), 1, 2, 1};
  p.q = {1};
  p.keys = logits;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    p.values.push_back(static_cast<float>(i + 1));
    p.values.push_back(-static_cast<float>(i + 1));
  }
  return p;
}

State attention_of(const Problem<float>& p, const Selection& s) {
  Query q = p.query();
  q.logit.scale = 1.0;
  return attention(p, q, s);
}

// As far apart as a block, a neighbouring block and another chunk.
const std::vector<Position> kPlaces = {0, 5, 16, 4095, 4096, 8999};

TEST(AccumulateExtremes, OneInfiniteLogitTakesAll) {
  for (const Position at : kPlaces) {
    std::vector<float> logits(9000, 3.0f);
    logits[static_cast<std::size_t>(at)] = kInfinity<float>;
    const State state = attention_of(with_logits(logits), selection_of({{0, 9000}}));
    EXPECT_EQ(state.out()[0], static_cast<float>(at + 1));
    EXPECT_EQ(state.out()[1], -static_cast<float>(at + 1));
    EXPECT_EQ(state.lse(), kInfinity<float>);
  }
}

TEST(AccumulateExtremes, SeveralInfiniteLogitsHaveNoLimit) {
  for (const Position a : kPlaces) {
    for (const Position b : kPlaces) {
      if (a >= b) continue;
      std::vector<float> logits(9000, 3.0f);
      logits[static_cast<std::size_t>(a)] = logits[static_cast<std::size_t>(b)] = kInfinity<float>;
      const State state = attention_of(with_logits(logits), selection_of({{0, 9000}}));
      EXPECT_TRUE(std::isnan(state.out()[0])) << a << " " << b;
      EXPECT_TRUE(std::isnan(state.lse())) << a << " " << b;
    }
  }
}

TEST(AccumulateExtremes, MinusInfinityIsMasked) {
  std::vector<float> logits(9000, -kInfinity<float>);
  const State all = attention_of(with_logits(logits), selection_of({{0, 9000}}));
  EXPECT_EQ(all.out()[0], 0);
  EXPECT_EQ(all.lse(), -kInfinity<float>);
  for (const Position at : kPlaces) {
    std::fill(logits.begin(), logits.end(), -kInfinity<float>);
    logits[static_cast<std::size_t>(at)] = -7;
    const State one = attention_of(with_logits(logits), selection_of({{0, 9000}}));
    EXPECT_EQ(one.out()[0], static_cast<float>(at + 1));
    EXPECT_EQ(one.lse(), -7);
  }
}

TEST(AccumulateExtremes, NanThatIsSelectedIsSeen) {
  for (const Position at : kPlaces) {
    auto p = with_logits(std::vector<float>(9000, 1.0f));
    p.values[2 * static_cast<std::size_t>(at)] = std::nanf("");
    const State value = attention_of(p, selection_of({{0, 9000}}));
    EXPECT_TRUE(std::isnan(value.out()[0])) << at;
    EXPECT_FALSE(std::isnan(value.out()[1])) << "the other column is not concerned";
    EXPECT_FALSE(std::isnan(value.lse()));

    p = with_logits(std::vector<float>(9000, 1.0f));
    p.keys[static_cast<std::size_t>(at)] = std::nanf("");
    const State key = attention_of(p, selection_of({{0, 9000}}));
    EXPECT_TRUE(std::isnan(key.out()[0]) && std::isnan(key.out()[1]) && std::isnan(key.lse())) << at;
  }
}

// Neighbours in memory, in a block and in a page: what is not selected has no effect on a single bit.
TEST(AccumulateExtremes, NanThatIsNotSelectedIsNot) {
  const Selection s = selection_of({{3, 10}, {20, 50}, {4090, 4100}}, every(5, 60, 400));
  const auto clean = test::random_problem<float>({5000, 20, 37, 3}, 2);
  auto poisoned = clean;
  std::vector<bool> chosen(5000);
  for (const auto& w : test::list_of(s)) chosen[static_cast<std::size_t>(w.position)] = true;
  for (std::size_t i = 0; i < 5000; ++i) {
    if (chosen[i]) continue;
    std::fill_n(poisoned.keys.data() + i * 20, 20, std::nanf(""));
    std::fill_n(poisoned.values.data() + i * 37, 37, i % 2 == 0 ? std::nanf("") : kInfinity<float>);
  }
  const State a = attention(clean, clean.query(), s), b = attention(poisoned, poisoned.query(), s);
  for (std::size_t h = 0; h < 3; ++h) {
    EXPECT_TRUE(test::same_bits(a.out(h), b.out(h), 37));
    EXPECT_EQ(a.lse(h), b.lse(h));
  }
}

// ---- merging ----

TEST(MergePartial, EmptyIsNeutralOnBothSides) {
  constexpr std::size_t kHeads = 2, kPadded = kStep<float>;
  const std::size_t size = Partial<float>::size(kHeads, kPadded);
  Buffer<float> memory;
  memory.resize(3 * size);
  const auto full = Partial<float>::at(memory.data(), kHeads, kPadded);
  for (std::size_t i = 0; i < kHeads * kPadded; ++i) full.numerator[i] = static_cast<float>(i) + 0.5f;
  for (std::size_t h = 0; h < kHeads; ++h) {
    full.max[h] = 3.0f - static_cast<float>(h);
    full.sum[h] = 1.5f;
  }
  const auto total = Partial<float>::at(memory.data() + size, kHeads, kPadded);
  const auto empty = Partial<float>::at(memory.data() + 2 * size, kHeads, kPadded);
  total.clear(kHeads, kPadded);
  empty.clear(kHeads, kPadded);
  const std::size_t used = kHeads * kPadded + 2 * kHeads;
  merge_partial(total, full, kHeads, kPadded);
  EXPECT_TRUE(test::same_bits(total.numerator, full.numerator, used));
  merge_partial(total, empty, kHeads, kPadded);
  EXPECT_TRUE(test::same_bits(total.numerator, full.numerator, used));
  total.clear(kHeads, kPadded);
  merge_partial(total, empty, kHeads, kPadded);
  EXPECT_TRUE(test::same_bits(total.numerator, empty.numerator, used));
}

// Whichever of the two is larger, and for every lane: a e^x + b e^y over the larger exponent.
TEST(MergePartial, AddsOverTheLargerMaximum) {
  constexpr std::size_t kPadded = 2 * kStep<double>;
  const std::size_t size = Partial<double>::size(1, kPadded);
  Buffer<double> memory;
  memory.resize(2 * size);
  for (const double difference : {-3.0, -0.1, 0.0, 0.1, 3.0}) {
    const auto total = Partial<double>::at(memory.data(), 1, kPadded);
    const auto part = Partial<double>::at(memory.data() + size, 1, kPadded);
    for (std::size_t i = 0; i < kPadded; ++i) {
      total.numerator[i] = static_cast<double>(i);
      part.numerator[i] = 100 - static_cast<double>(i);
    }
    total.max[0] = 1;
    total.sum[0] = 2;
    part.max[0] = 1 + difference;
    part.sum[0] = 5;
    merge_partial(total, part, 1, kPadded);
    const double max = std::max(1.0, 1 + difference);
    EXPECT_EQ(total.max[0], max);
    EXPECT_NEAR(total.sum[0], 2 * std::exp(1 - max) + 5 * std::exp(1 + difference - max), 1e-13);
    for (std::size_t i = 0; i < kPadded; ++i) {
      const double x = static_cast<double>(i);
      EXPECT_NEAR(total.numerator[i],
                  x * std::exp(1 - max) + (100 - x) * std::exp(1 + difference - max), 1e-12);
    }
  }
}

// Rows of the caller's memory: nothing beside them is written.
TEST(Finish, WritesItsRowsOnly) {
  constexpr std::size_t kCols = 5, kStride = 9;
  const std::size_t padded = round_up(kCols, kStep<float>);
  Buffer<float> memory;
  memory.resize(Partial<float>::size(2, padded));
  const auto p = Partial<float>::at(memory.data(), 2, padded);
  p.clear(2, padded);
  std::vector<float> row{1, 2, 3, 4, 5};
  for (std::size_t h = 0; h < 2; ++h) {
    to_lanes<BF16>(row.data(), kCols, p.numerator + h * padded);
    p.max[h] = 7;
    p.sum[h] = h == 0 ? 4.0f : 0.0f;
  }
  std::vector<float> out(2 * kStride, -7), lse(4, -7);
  finish<BF16, float>(p, padded, {{out.data(), 2, kCols, kStride}, lse.data(), 3});
  for (std::size_t c = 0; c < kStride; ++c) {
    EXPECT_EQ(out[c], c < kCols ? row[c] / 4 : -7);
    EXPECT_EQ(out[kStride + c], c < kCols ? 0 : -7);
  }
  EXPECT_EQ(lse[0], 7 + std::log(4.0f));
  EXPECT_EQ(lse[3], -kInfinity<float>);
  EXPECT_EQ(lse[1], -7);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
