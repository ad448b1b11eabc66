// SPDX-License-Identifier: Apache-2.0
// What is asked of which keys and values? Small random problems, the same at every run.
#ifndef SKIM_TESTS_SUPPORT_PROBLEM_H_
#define SKIM_TESTS_SUPPORT_PROBLEM_H_

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

/// A query group and one KV head, as numbers in exactly as much memory as they need.
template <class K, class V = K>
struct Problem {
  using Real = RealOf<K>;

  Shape shape;
  std::vector<Real> q;    // [g, d]
  std::vector<K> keys;    // [n, d]
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
  p.keys.resize(shape.n * shape.d);
  p.values.resize(shape.n * shape.d_v);
  for (auto& x : p.q) x = static_cast<RealOf<K>>(spread * normal(generator));
  for (auto& x : p.keys) x = stored<K>(normal(generator));
  for (auto& x : p.values) x = stored<V>(normal(generator));
  return p;
}

/// Stored numbers as the doubles they are.
template <class T>
Matrix numbers_of(const std::vector<T>& stored_numbers, std::size_t rows, std::size_t cols) {
  Matrix matrix{rows, cols, {}};
  for (const T x : stored_numbers) matrix.numbers.push_back(to_float(x));
  return matrix;
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

/// Whether `state` is the attention of each row of `query` over `list`, within the bound of close.h.
template <class K, class V>
testing::AssertionResult agrees(const BasicStateView<RealOf<K>>& state, const Problem<K, V>& p,
                                const BasicQuery<RealOf<K>>& query, const std::vector<Weighted>& list) {
  const Matrix keys = numbers_of(p.keys, p.shape.n, p.shape.d);
  const Matrix values = numbers_of(p.values, p.shape.n, p.shape.d_v);
  for (std::size_t h = 0; h < query.heads(); ++h) {
    const ReferenceQuery row = reference_query(query, h, p.shape.n);
    ReferenceState reference = reference_attention(reference_logits(row, keys), values, list);
    if (query.sink_logits) add_sink(reference, query.sink_logits[h]);
    const Bound bound = bound_of<RealOf<K>>(row, keys, list, reference);
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
