// SPDX-License-Identifier: Apache-2.0
// Is it right for keys and values of any storage type, in any combination?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

template <class K, class V>
void expect_right() {
  for (const std::size_t group : {1u, 2u, 3u, 4u, 5u, 7u, 8u}) {
    for (const std::size_t d : {1u, 7u, 46u, 64u, 80u}) {
      const std::size_t d_v = 97 - d;
      for (const std::size_t n : {1u, 17u, 100u}) {
        SCOPED_TRACE(testing::Message() << "group " << group << ", d " << d << ", d_v " << d_v << ", n " << n);
        const auto p = random_problem<K, V>({n, d, d_v, group}, group * d * n);
        State state = attend(Dense{}, p.query(), p.kv());
        EXPECT_TRUE(agrees_with_dense(state.view(), p, p.query()));
        // The same by picks, which take another way through the kernel.
        Selection picks;
        for (Position i = 0; i < static_cast<Position>(n); ++i) picks.add(i, 0.01 * static_cast<double>(i));
        state = attend(picks, p.query(), p.kv());
        EXPECT_TRUE(agrees(state.view(), p, p.query(), list_of(picks)));
      }
    }
  }
}

TEST(Storage, F32WithF32) { expect_right<float, float>(); }
TEST(Storage, F32WithF16) { expect_right<float, F16>(); }
TEST(Storage, F32WithBF16) { expect_right<float, BF16>(); }
TEST(Storage, F16WithF32) { expect_right<F16, float>(); }
TEST(Storage, F16WithF16) { expect_right<F16, F16>(); }
TEST(Storage, F16WithBF16) { expect_right<F16, BF16>(); }
TEST(Storage, BF16WithF32) { expect_right<BF16, float>(); }
TEST(Storage, BF16WithF16) { expect_right<BF16, F16>(); }
TEST(Storage, BF16WithBF16) { expect_right<BF16, BF16>(); }
TEST(Storage, I8WithI8) { expect_right<I8, I8>(); }
TEST(Storage, I8WithBF16) { expect_right<I8, BF16>(); }
TEST(Storage, F32WithI8) { expect_right<float, I8>(); }

// An accumulator of 16 bits would overflow.
TEST(Storage, LargeValuesInManyKeys) {
  auto p = random_problem<F16, F16>({65536, 8, 8, 1}, 1);
  for (F16& v : p.values) v = stored<F16>(60000);
  State state = attend(Dense{}, p.query(), p.kv());
  EXPECT_TRUE(agrees_with_dense(state.view(), p, p.query()));
  for (std::size_t i = 0; i < p.values.size(); ++i) p.values[i] = stored<F16>(i / 8 % 2 == 0 ? 60000 : -60000);
  state = attend(Dense{}, p.query(), p.kv());
  EXPECT_TRUE(agrees_with_dense(state.view(), p, p.query()));
}

// So would a logit of 16 bits.
TEST(Storage, LogitsBeyondTheRangeOfF16) {
  auto p = random_problem<F16, F16>({40, 64, 16, 2}, 2);
  for (std::size_t i = 0; i < 40; ++i) {
    for (std::size_t c = 0; c < 64; ++c) p.keys[i * 64 + c] = stored<F16>(50000);
    p.keys[i * 64 + i % 8] = stored<F16>(49000 - 32.0 * static_cast<double>(i));
  }
  for (float& x : p.q) x = 1.0f / 16;
  BasicQuery<float> q = p.query();
  q.logit.scale = 1;
  const Selection all = select(Dense{}, q, p.kv());
  State state = attend(all, q, p.kv());
  EXPECT_GT(state.lse(0), 150000.0f);
  EXPECT_TRUE(agrees_with_dense(state.view(), p, q));
}

// What a conversion makes of numbers that the storage type does not hold is known: an infinity.
TEST(Storage, OverflowInTheStorageTypeIsAnInfinity) {
  auto p = random_problem<float, F16>({3, 8, 8, 1}, 3);
  p.values[8] = stored<F16>(1e6);
  State state = attend(Dense{}, p.query(), p.kv());
  EXPECT_EQ(state.out()[0], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(agrees_with_dense(state.view(), p, p.query()));
}

// The smallest numbers of each type are not flushed to 0.
TEST(Storage, Subnormals) {
  auto p = random_problem<F16, F16>({20, 16, 16, 1}, 4);
  for (std::size_t i = 0; i < p.values.size(); ++i) p.values[i] = F16{static_cast<std::uint16_t>(1 + i % 1000)};
  for (std::size_t i = 0; i < p.keys.size(); ++i) p.keys[i] = F16{static_cast<std::uint16_t>(1 + i % 1023)};
  for (float& x : p.q) x *= 0x1p14f;
  const State state = attend(Dense{}, p.query(), p.kv());
  EXPECT_GT(state.out()[0], 0.0f);
  EXPECT_TRUE(agrees_with_dense(State(state).view(), p, p.query()));
}

// ---- what quantising costs ----

/// The same numbers in float and in int8.
struct TwoStores {
  Problem<float> exact;
  Problem<I8> stored;

  TwoStores(const Shape& shape, std::uint64_t seed) : exact(random_problem<float>(shape, seed)) {
    stored.shape = shape;
    stored.q = exact.q;
    stored.keys.resize(shape.n * row_values<I8>(shape.d));
    stored.values.resize(shape.n * row_values<I8>(shape.d_v));
    for (std::size_t i = 0; i < shape.n; ++i) {
      quantize_row(row_at(exact.keys, i, shape.d), shape.d, row_at(stored.keys, i, shape.d));
      quantize_row(row_at(exact.values, i, shape.d_v), shape.d_v, row_at(stored.values, i, shape.d_v));
    }
  }
};

// End to end, against numbers that were never quantised: a logit errs by at most half a scale (and half a step of the
// query) for each product, a weight by twice the largest of these, a value by half its scale.
TEST(Storage, QuantisingErrsByNoMoreThanTheScalesSay) {
  for (const std::size_t d : {8u, 64u, 128u}) {
    for (const std::size_t n : {1u, 40u, 1000u}) {
      const TwoStores both({n, d, d, 4}, d + n);
      State out = attend(Dense{}, both.stored.query(), both.stored.kv());
      const Matrix keys = numbers_of(both.exact.keys, n, d), values = numbers_of(both.exact.values, n, d);
      for (std::size_t h = 0; h < 4; ++h) {
        const ReferenceQuery q = reference_query(both.exact.query(), h, n);
        double q_sum = 0, q_max = 0;
        for (const double x : q.row) {
          q_sum += std::abs(x);
          q_max = std::max(q_max, std::abs(x));
        }
        double logit = 0, value_step = 0, largest = 0;
        for (std::size_t i = 0; i < n; ++i) {
          const double scale = scale_of(row_at(both.stored.keys, i, d), d);
          double k_sum = 0;
          for (std::size_t c = 0; c < d; ++c) {
            k_sum += std::abs(keys(i, c)) + scale / 2;
            largest = std::max(largest, std::abs(values(i, c)));
          }
          logit = std::max(logit, q.scale * (q_sum * scale / 2 + k_sum * q_max / 32767 / 2));
          value_step = std::max(value_step, double{scale_of(row_at(both.stored.values, i, d), d)});
        }
        const ReferenceState reference =
            reference_attention(reference_logits(q, keys), values, everything(0, static_cast<Position>(n)));
        EXPECT_NEAR(out.lse(h), reference.lse, logit + 1e-5);
        for (std::size_t c = 0; c < d; ++c) {
          const double weights = std::expm1(2 * logit) * largest;  // p' <= p e^{2 logit}
          EXPECT_NEAR(out.out(h)[c], reference.out[c], weights + value_step / 2 * 1.01 + 1e-5) << "d " << d << ", n " << n;
        }
      }
    }
  }
}

double relative_l2(const float* x, const float* exact, std::size_t count) {
  double squares = 0, norm = 0;
  for (std::size_t c = 0; c < count; ++c) {
    const double difference = double{x[c]} - exact[c];
    squares += difference * difference;
    norm += double{exact[c]} * exact[c];
  }
  return std::sqrt(squares / norm);
}

// The bound above is for the worst case. What is to be expected of normal numbers (attention to thousands of keys, so
// the output is small): .6 to 3 percent; and what 16 bits of query and weights add, 1/190 to 1/530 of that.
TEST(Storage, TheErrorOfInt8IsThatOfItsBytes) {
  for (const double spread : {0.5, 1.5, 4.0}) {
    TwoStores both({4096, 128, 128, 4}, 1);
    for (float& x : both.exact.q) x *= static_cast<float>(spread / 1.5);
    both.stored.q = both.exact.q;
    Problem<float> bytes = both.exact;  // the numbers that the bytes stand for, in arithmetic of float
    for (std::size_t i = 0; i < 4096; ++i) {
      to_floats(row_at(both.stored.keys, i, 128), 128, row_at(bytes.keys, i, 128));
      to_floats(row_at(both.stored.values, i, 128), 128, row_at(bytes.values, i, 128));
    }
    const State exact = attend(Dense{}, both.exact.query(), both.exact.kv());
    const State as_float = attend(Dense{}, bytes.query(), bytes.kv());
    const State stored = attend(Dense{}, both.stored.query(), both.stored.kv());
    for (std::size_t h = 0; h < 4; ++h) {
      const double of_bytes = relative_l2(as_float.out(h), exact.out(h), 128);
      EXPECT_LT(relative_l2(stored.out(h), exact.out(h), 128), 4e-2);
      EXPECT_GT(of_bytes, 1e-3);
      EXPECT_LT(relative_l2(stored.out(h), as_float.out(h), 128), of_bytes / 100) << "spread " << spread;
    }
  }
}

// Poison of any kind in a selected row shows, on every path: quantising must not make it finite.
TEST(Storage, NanAndInfinityInARowOfInt8ReachTheOutput) {
  for (const float x : {NAN, INFINITY, -INFINITY}) {
    for (const bool in_values : {false, true}) {
      TwoStores both({40, 24, 20, 4}, 7);
      auto& rows = in_values ? both.stored.values : both.stored.keys;
      const std::size_t cols = in_values ? 20 : 24;
      std::vector<float> row(cols, 0.5f);
      row[3] = x;
      quantize_row(row.data(), cols, row_at(rows, 17, cols));
      const State dense = attend(Dense{}, both.stored.query(), both.stored.kv());
      Selection picks;
      for (const Position i : {3, 17, 30}) picks.add(i, 0.5);
      const State gathered = attend(picks, both.stored.query(), both.stored.kv());
      for (std::size_t c = 0; c < 20; ++c) {
        EXPECT_TRUE(std::isnan(dense.out(1)[c]));
        EXPECT_TRUE(std::isnan(gathered.out(1)[c]));
      }
      EXPECT_EQ(std::isnan(dense.lse(1)), !in_values);
    }
  }
  TwoStores both({40, 24, 20, 4}, 7);
  both.stored.q[24 + 5] = INFINITY;  // head 1; the others have nothing to do with it
  const State state = attend(Dense{}, both.stored.query(), both.stored.kv());
  EXPECT_TRUE(std::isnan(state.out(1)[0]));
  EXPECT_TRUE(std::isfinite(state.out(0)[0]) && std::isfinite(state.out(2)[0]));
}

}  // namespace
}  // namespace skim::test
