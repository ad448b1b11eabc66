// SPDX-License-Identifier: Apache-2.0
// What does a whole layer ask? A batch of sequences of different lengths, with all their heads.
#ifndef SKIM_TESTS_SUPPORT_LAYER_PROBLEM_H_
#define SKIM_TESTS_SUPPORT_LAYER_PROBLEM_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include <gtest/gtest.h>

#include "skim/attend/layer.h"
#include "support/guarded.h"
#include "support/problem.h"

namespace skim::test {

/// Of eight query heads, all different.
inline constexpr float kSlopesOfEight[] = {0.5f, 0.25f, 0.125f, 0.06f, 0.03f, 0.01f, 0.005f, 0.001f};
inline constexpr float kSinksOfEight[] = {0.5f, -1, 2, 30, -INFINITY, 0, 1, -5};

/// A sequence of the batch: `rows` new queries against `n` positions.
struct Sequence {
  std::size_t rows = 1;
  std::size_t n = 0;
};

struct LayerShape {
  std::size_t q_heads = 4;
  std::size_t kv_heads = 2;
  std::size_t d = 24;
  std::size_t d_v = 16;

  std::size_t group() const { return q_heads / kv_heads; }
};

template <class K, class V = K>
struct LayerProblem {
  LayerShape shape;
  std::vector<Sequence> sequences;
  std::vector<std::size_t> row_begin;     // [sequences + 1]
  std::vector<float> q;                   // [rows, q_heads, d]
  std::vector<Problem<K, V>> heads;       // [sequences, kv_heads]; their own q is not used
  std::vector<ContiguousKv<K, V>> views;  // of `heads`

  LayerProblem(const LayerShape& layer, std::vector<Sequence> batch, std::uint64_t seed)
      : shape(layer), sequences(std::move(batch)), row_begin{0} {
    for (const Sequence& s : sequences) row_begin.push_back(row_begin.back() + s.rows);
    q = random_problem<float>({0, layer.d, 1, row_begin.back() * layer.q_heads}, seed).q;
    for (const Sequence& s : sequences) {
      for (std::size_t h = 0; h < layer.kv_heads; ++h) {
        heads.push_back(random_problem<K, V>({s.n, layer.d, layer.d_v, 1}, ++seed));
      }
    }
    for (const auto& head : heads) views.push_back(head.kv());
  }
  LayerProblem(const LayerProblem&) = delete;  // `views` points into `heads`

  std::size_t rows() const { return row_begin.back(); }

  LayerQuery query() const {
    LayerQuery query;
    query.rows = {q.data(), rows(), shape.q_heads, shape.d};
    query.row_begin = row_begin;
    return query;
  }
  LayerKv<ContiguousKv<K, V>> kv() const { return {views, shape.kv_heads}; }

  std::size_t sequence_of(std::size_t row) const {
    std::size_t s = 0;
    while (row_begin[s + 1] <= row) ++s;
    return s;
  }
  const Problem<K, V>& head_of(std::size_t row, std::size_t q_head) const {
    return heads[sequence_of(row) * shape.kv_heads + q_head / shape.group()];
  }
  /// Position of a row: the last row of a sequence is at its last position. Below 0: before the first.
  Position position_of(std::size_t row) const {
    const std::size_t s = sequence_of(row);
    return static_cast<Position>(sequences[s].n) - static_cast<Position>(row_begin[s + 1] - row);
  }

  /// One row of one query head as a one-head query, without visible range.
  Query row_query(const LayerQuery& query, std::size_t row, std::size_t q_head) const {
    Query one;
    one.rows = {q.data() + (row * shape.q_heads + q_head) * shape.d, 1, shape.d};
    one.position = position_of(row);
    one.causal = query.causal;
    one.logit = query.logit;
    if (one.logit.alibi_slopes) one.logit.alibi_slopes += q_head;
    if (query.sink_logits) one.sink_logits = query.sink_logits + q_head;
    return one;
  }
};

/// Poisoned, fenced memory for the state of a layer.
struct LayerOutput {
  LayerShape shape;
  std::size_t rows;
  Guarded<float> out, lse;

  template <class K, class V>
  explicit LayerOutput(const LayerProblem<K, V>& p)
      : shape(p.shape),
        rows(p.rows()),
        out(p.rows() * p.shape.q_heads * p.shape.d_v),
        lse(p.rows() * p.shape.q_heads) {}

  LayerState state() { return {{out.data(), rows, shape.q_heads, shape.d_v}, lse.data()}; }
  StateView row(std::size_t r, std::size_t q_head) {
    const std::size_t at = r * shape.q_heads + q_head;
    return {{out.data() + at * shape.d_v, 1, shape.d_v}, lse.data() + at};
  }
  testing::AssertionResult all_written() const {
    const auto all = out.all_written();
    return all ? lse.all_written() : all;
  }
};

inline testing::AssertionResult same_bits(const LayerOutput& a, const LayerOutput& b) {
  const auto out = same_bits(a.out.data(), b.out.data(), a.out.size());
  return out ? same_bits(a.lse.data(), b.lse.data(), a.lse.size()) : out;
}

/// Whether every row is dense attention over what it may see, within the bound of close.h.
template <class K, class V>
testing::AssertionResult agrees_with_dense(LayerOutput& output, const LayerProblem<K, V>& p,
                                           const LayerQuery& query) {
  for (std::size_t r = 0; r < p.rows(); ++r) {
    const auto n = static_cast<Position>(p.sequences[p.sequence_of(r)].n);
    Position first = 0, last = query.causal ? p.position_of(r) + 1 : n;
    if (!query.visible.empty()) {
      first = std::max(first, query.visible[r].first);
      last = std::min(last, query.visible[r].last);
    }
    for (std::size_t h = 0; h < p.shape.q_heads; ++h) {
      const auto row = agrees(output.row(r, h), p.head_of(r, h), p.row_query(query, r, h), everything(first, last));
      if (!row) return testing::AssertionFailure() << "row " << r << ", query head " << h << ": " << row.message();
    }
  }
  return testing::AssertionSuccess();
}

}  // namespace skim::test

#endif  // SKIM_TESTS_SUPPORT_LAYER_PROBLEM_H_
