// SPDX-License-Identifier: Apache-2.0
// Is dense attention right, for any number of keys, any row length, any group?
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/guarded.h"
#include "support/problem.h"

namespace skim::test {
namespace {

/// Attends into poisoned, fenced memory and compares with the reference.
template <class K, class V>
void expect_dense_is_right(const Problem<K, V>& p, const BasicQuery<RealOf<K>>& query) {
  Guarded<RealOf<K>> out(p.shape.group * p.shape.d_v), lse(p.shape.group);
  const BasicStateView<RealOf<K>> state{{out.data(), p.shape.group, p.shape.d_v}, lse.data()};
  Workspace ws;
  attend(Dense{}, query, p.kv(), state, ws);
  EXPECT_TRUE(out.all_written());
  EXPECT_TRUE(lse.all_written());
  EXPECT_TRUE(agrees_with_dense(state, p, query));
  if (p.shape.n == 0) return;
  const auto zeros = std::count(out.data(), out.data() + out.size(), 0);
  EXPECT_LE(zeros, static_cast<std::ptrdiff_t>(out.size() / 10)) << "outputs are zero";
}

TEST(Dense, AnyNumberOfKeys) {
  for (const std::size_t n : {0u, 1u, 2u, 7u, 8u, 15u, 16u, 17u, 31u, 32u, 33u, 100u, 1023u, 4095u, 4096u, 4097u, 8192u, 12289u}) {
    for (const std::size_t group : {1u, 3u}) {
      SCOPED_TRACE(testing::Message() << n << " keys, group of " << group);
      const auto p = random_problem<float>({n, 24, 20, group}, n + group);
      expect_dense_is_right(p, p.query());
    }
  }
}

TEST(Dense, AnyRowLength) {
  constexpr std::size_t kDims[] = {1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 46, 64, 72, 80, 96, 128, 192, 256, 512};
  for (const std::size_t d : kDims) {
    for (const std::size_t d_v : kDims) {
      SCOPED_TRACE(testing::Message() << "d " << d << ", d_v " << d_v);
      const auto p = random_problem<float>({19, d, d_v, 3}, d * 1000 + d_v);
      expect_dense_is_right(p, p.query());
    }
  }
}

TEST(Dense, AnyGroup) {
  for (std::size_t group = 1; group <= 17; ++group) {
    SCOPED_TRACE(testing::Message() << "group of " << group);
    const auto p = random_problem<float>({37, 40, 24, group}, group);
    expect_dense_is_right(p, p.query());
    BasicQuery<float> per_head = p.query();
    per_head.grouping = Grouping::kPerHead;
    expect_dense_is_right(p, per_head);
  }
}

TEST(Dense, PeakedAndFlatDistributions) {
  for (const double spread : {0.0, 0.1, 6.0, 30.0}) {
    SCOPED_TRACE(testing::Message() << "spread " << spread);
    const auto p = random_problem<float>({5000, 64, 16, 2}, 5, spread);
    expect_dense_is_right(p, p.query());
  }
}

TEST(Dense, ManyKeys) {
  const auto p = random_problem<float>({65536, 8, 8, 1}, 8);
  expect_dense_is_right(p, p.query());
}

TEST(Dense, InDouble) {
  for (const std::size_t n : {0u, 1u, 15u, 16u, 17u, 100u, 4097u}) {
    for (const std::size_t d : {1u, 7u, 8u, 64u, 80u}) {
      SCOPED_TRACE(testing::Message() << n << " keys, d " << d);
      const auto p = random_problem<double>({n, d, d + 3, 4}, n + d);
      expect_dense_is_right(p, p.query());
    }
  }
}

/// What a plain loop in float gets: two passes, one sum.
void plain_float(const Problem<float>& p, std::size_t h, float* out) {
  std::vector<float> s(p.shape.n);
  const float scale = 1 / std::sqrt(static_cast<float>(p.shape.d));
  for (std::size_t i = 0; i < p.shape.n; ++i) {
    float dot = 0;
    for (std::size_t c = 0; c < p.shape.d; ++c) dot += p.q[h * p.shape.d + c] * p.keys[i * p.shape.d + c];
    s[i] = dot * scale;
  }
  const float max = *std::max_element(s.begin(), s.end());
  float sum = 0;
  for (float& x : s) sum += x = std::exp(x - max);
  for (std::size_t c = 0; c < p.shape.d_v; ++c) {
    out[c] = 0;
    for (std::size_t i = 0; i < p.shape.n; ++i) out[c] += s[i] / sum * p.values[i * p.shape.d_v + c];
  }
}

// The second gate, free of assumptions: at most twice the worst error of plain loops in float.
TEST(Dense, AtMostTwiceTheErrorOfPlainFloat) {
  for (const std::size_t n : {64u, 1000u, 20000u}) {
    const auto p = random_problem<float>({n, 128, 128, 4}, n);
    const State state = attend(Dense{}, p.query(), p.kv());
    const Matrix keys = numbers_of(p.keys, n, 128), values = numbers_of(p.values, n, 128);
    double error = 0, plain_error = 0;
    for (std::size_t h = 0; h < 4; ++h) {
      const ReferenceQuery row = reference_query(p.query(), h, n);
      const ReferenceState reference =
          reference_attention(reference_logits(row, keys), values, everything(0, static_cast<Position>(n)));
      std::vector<float> plain(128);
      plain_float(p, h, plain.data());
      for (std::size_t c = 0; c < 128; ++c) {
        error = std::max(error, std::abs(state.out(h)[c] - reference.out[c]));
        plain_error = std::max(plain_error, std::abs(plain[c] - reference.out[c]));
      }
    }
    EXPECT_LE(error, 2 * plain_error) << n << " keys";
    EXPECT_GT(error, 0) << "a comparison of the reference with itself";
  }
}

}  // namespace
}  // namespace skim::test
