// SPDX-License-Identifier: Apache-2.0
// What is asked of which keys and values? Small random problems, the same at every run.
#ifndef SKIM_TESTS_SUPPORT_PROBLEM_H_
#define SKIM_TESTS_SUPPORT_PROBLEM_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "skim/core/kv.h"
#include "skim/core/query.h"
#include "skim/core/selection.h"
#include "skim/core/state.h"
#include "skim/core/storage.h"
#include "support/close.h"
#include "support/reference.h"

namespace skim::test {

inline constexpr float kInfF = std::numeric_limits<float>::infinity();
inline constexpr float kNanF = std::numeric_limits<float>::quiet_NaN();
template <class Real>
inline constexpr Real kNone = -std::numeric_limits<Real>::infinity();  // the logarithm of no probability

struct Shape {
  std::size_t n = 100;
  std::size_t d = 64;
  std::size_t d_v = 64;
  std::size_t group = 1;
};

/// Arithmetic for keys of a storage type.
template <class K>
using RealOf = std::conditional_t<std::is_same_v<K, double>, double, float>;

/// Stores a number.
template <class T>
T stored(double x) {
  if constexpr (std::is_same_v<T, double>) {
    return x;
  } else {
    return from_float<T>(static_cast<float>(x));
  }
}

/// Stores a row: row_values<T>(cols) of T.
template <class T>
void store_row(const double* row, std::size_t cols, T* to) {
  if constexpr (std::is_same_v<T, I8>) {
    const std::vector<float> floats(row, row + cols);
    quantize_row(floats.data(), cols, to);
  } else {
    for (std::size_t c = 0; c < cols; ++c) to[c] = stored<T>(row[c]);
  }
}

/// Stores the same number in a whole row.
template <class T>
void fill_row(T* to, std::size_t cols, double x) {
  store_row(std::vector<double>(cols, x).data(), cols, to);
}

/// What no result may contain: a NaN, or a byte that makes any scale it is part of a NaN.
template <class T>
T poison() {
  if constexpr (std::is_same_v<T, I8>) {
    return I8{-1};
  } else {
    return stored<T>(std::numeric_limits<double>::quiet_NaN());
  }
}

/// Row i of stored rows.
template <class Rows>
auto row_at(Rows& rows, std::size_t i, std::size_t cols) {
  return rows.data() + i * row_values<typename Rows::value_type>(cols);
}

/// A query group and one KV head, as numbers in exactly as much memory as they need.
template <class K, class V = K>
struct Problem {
  using Real = RealOf<K>;

  Shape shape;
  std::vector<Real> q;    // [g, d]
  std::vector<K> keys;    // [n, d], quantised rows with their scales
  std::vector<V> values;  // [n, d_v]

  BasicQuery<Real> query() const {
    BasicQuery<Real> query;
    query.rows = {q.data(), shape.group, shape.d};
    return query;
  }
  ContiguousKv<K, V> kv() const {
    return {{keys.data(), shape.n, shape.d}, {values.data(), shape.n, shape.d_v}};
  }
};

/// Normal numbers; the logits have a standard deviation of `spread`.
template <class K, class V = K>
Problem<K, V> random_problem(const Shape& shape, std::uint64_t seed, double spread = 1.5) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  Problem<K, V> p;
  p.shape = shape;
  p.q.resize(shape.group * shape.d);
  p.keys.resize(shape.n * row_values<K>(shape.d));
  p.values.resize(shape.n * row_values<V>(shape.d_v));
  for (auto& x : p.q) x = static_cast<RealOf<K>>(spread * normal(generator));
  const auto fill = [&](auto& rows, std::size_t cols) {
    std::vector<double> row(cols);
    for (std::size_t i = 0; i < shape.n; ++i) {
      for (double& x : row) x = normal(generator);
      store_row(row.data(), cols, row_at(rows, i, cols));
    }
  };
  fill(p.keys, shape.d);
  fill(p.values, shape.d_v);
  return p;
}

/// Stored numbers as the doubles they are.
template <class T>
Matrix numbers_of(const std::vector<T>& stored_numbers, std::size_t rows, std::size_t cols) {
  Matrix matrix{rows, cols, {}};
  for (std::size_t i = 0; i < rows; ++i) {
    const T* row = row_at(stored_numbers, i, cols);
    for (std::size_t c = 0; c < cols; ++c) {
      if constexpr (std::is_same_v<T, I8>) {
        matrix.numbers.push_back(double{scale_of(row, cols)} * row[c].byte);
      } else {
        matrix.numbers.push_back(to_float(row[c]));
      }
    }
  }
  return matrix;
}

/// The row that a query row counts as against quantised keys: multiples of its largest value / 32767. The reference
/// gets what the kernel gets, as with keys and values. (Kernel and reference round in float, to the same multiple.)
inline void round_row(std::vector<double>& row) {
  float max = 0;
  for (const double x : row) max = std::max(max, static_cast<float>(std::abs(x)));
  float step = max / 32767;
  if (step * 32767 < max) step = std::nextafter(step, max);
  for (double& x : row) {
    if (step != 0) x = double{step} * static_cast<double>(std::nearbyint(static_cast<float>(x) / step));
  }
}

/// Row h of a query, for a KV head of n positions.
template <class Real>
ReferenceQuery reference_query(const BasicQuery<Real>& q, std::size_t h, std::size_t n) {
  ReferenceQuery r;
  const std::size_t d = q.rows.cols;
  for (std::size_t c = 0; c < d; ++c) r.row.push_back(q.rows.row(h)[c]);
  r.scale = q.logit.scale ? *q.logit.scale : 1 / std::sqrt(static_cast<double>(d));
  r.soft_cap = q.logit.soft_cap;
  r.alibi_slope = q.logit.alibi_slopes ? q.logit.alibi_slopes[h] : 0;
  r.position = q.position == kNewest ? static_cast<Position>(n) - 1 : q.position;
  return r;
}

/// A selection as the list of positions and weights that it stands for.
inline std::vector<Weighted> list_of(const Selection& selection) {
  std::vector<Weighted> list;
  for (const skim::Span& span : selection.spans()) {
    for (Position i = span.first; i < span.last; ++i) list.push_back({i, 1.0});
  }
  for (const Pick& pick : selection.picks()) list.push_back({pick.position, std::exp(pick.log_weight)});
  return list;
}

/// Its positions, ascending.
inline std::vector<Position> positions_of(const Selection& selection) {
  std::vector<Position> positions;
  for (const Weighted& w : list_of(selection)) positions.push_back(w.position);
  std::sort(positions.begin(), positions.end());
  return positions;
}
/// The same, of a selection without weights, in which no position is twice.
inline std::vector<Position> unweighted_positions_of(const Selection& selection) {
  for (const Weighted& w : list_of(selection)) EXPECT_EQ(w.weight, 1.0);
  const std::vector<Position> positions = positions_of(selection);
  EXPECT_EQ(std::adjacent_find(positions.begin(), positions.end()), positions.end()) << "a position twice";
  return positions;
}

/// The first n positions: seen, and as a problem of their own.
template <class K>
ContiguousKv<K> first_of(const Problem<K>& p, std::size_t n) {
  ContiguousKv<K> kv = p.kv();
  kv.keys.rows = kv.values.rows = n;
  return kv;
}
template <class K>
Problem<K> part_of(const Problem<K>& p, std::size_t n) {
  Problem<K> part = p;
  part.shape.n = n;
  part.keys.resize(n * row_values<K>(p.shape.d));
  part.values.resize(n * row_values<K>(p.shape.d_v));
  return part;
}

/// Quantised values are multiplied by weights of 16 bits: multiples of (the largest p * scale of a block) / 32767. Adds
/// what half such a multiple in every weight makes of the output. Blocks are 16 of a list in order, wherever they
/// begin: so the largest of a block is at most the largest of the 15 before and behind.
inline void add_rounding_of_weights(Bound& bound, const std::vector<I8>& values, std::size_t cols,
                                    const std::vector<double>& logits, const std::vector<Weighted>& list, double lse) {
  std::vector<double> product;
  for (const Weighted& w : list) {
    const auto i = static_cast<std::size_t>(w.position);
    product.push_back(std::abs(w.weight * std::exp(logits[i] - lse) * scale_of(row_at(values, i, cols), cols)));
  }
  for (std::size_t j = 0; j < list.size(); ++j) {
    const auto from = product.begin() + static_cast<std::ptrdiff_t>(j < 15 ? 0 : j - 15);
    const auto to = product.begin() + static_cast<std::ptrdiff_t>(std::min(j + 16, list.size()));
    const double half_step = *std::max_element(from, to) / 32767 / 2;
    const I8* row = row_at(values, static_cast<std::size_t>(list[j].position), cols);
    for (std::size_t c = 0; c < cols; ++c) bound.out[c] += half_step * std::abs(double{1} * row[c].byte);
  }
}

/// Whether `state` is the attention of each row of `query` over `list`, within the bound of close.h.
template <class K, class V>
testing::AssertionResult agrees(const BasicStateView<RealOf<K>>& state, const Problem<K, V>& p,
                                const BasicQuery<RealOf<K>>& query, const std::vector<Weighted>& list) {
  const Matrix keys = numbers_of(p.keys, p.shape.n, p.shape.d);
  const Matrix values = numbers_of(p.values, p.shape.n, p.shape.d_v);
  for (std::size_t h = 0; h < query.heads(); ++h) {
    ReferenceQuery row = reference_query(query, h, p.shape.n);
    if constexpr (std::is_same_v<K, I8>) round_row(row.row);
    const std::vector<double> logits = reference_logits(row, keys);
    ReferenceState reference = reference_attention(logits, values, list);
    if (query.sink_logits) add_sink(reference, query.sink_logits[h]);
    Bound bound = bound_of<RealOf<K>>(row, keys, list, reference);
    if constexpr (std::is_same_v<V, I8>) {
      add_rounding_of_weights(bound, p.values, p.shape.d_v, logits, list, reference.lse);
    }
    const auto close = is_close(state.out.row(h), state.lse_of(h), reference, bound);
    if (!close) return testing::AssertionFailure() << "head " << h << ": " << close.message();
  }
  return testing::AssertionSuccess();
}

/// The same over every position that `query` may see.
template <class K, class V>
testing::AssertionResult agrees_with_dense(const BasicStateView<RealOf<K>>& state, const Problem<K, V>& p,
                                           const BasicQuery<RealOf<K>>& query) {
  Position first = query.visible.first, last = query.visible.last;
  const auto n = static_cast<Position>(p.shape.n);
  if (first < 0) first = 0;
  if (last > n) last = n;
  if (query.causal && query.position != kNewest && last > query.position + 1) last = query.position + 1;
  return agrees(state, p, query, everything(first, last));
}

}  // namespace skim::test

#endif  // SKIM_TESTS_SUPPORT_PROBLEM_H_
