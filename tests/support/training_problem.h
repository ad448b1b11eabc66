// SPDX-License-Identifier: Apache-2.0
// What does a layer ask, and what comes back? One sequence, its loss sum <dout, out>, and the gradients as a textbook
// has them, in double.
#ifndef SKIM_TESTS_SUPPORT_TRAINING_PROBLEM_H_
#define SKIM_TESTS_SUPPORT_TRAINING_PROBLEM_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/close.h"
#include "support/guarded.h"
#include "support/layer_problem.h"
#include "support/problem.h"
#include "support/reference.h"

namespace skim::test {

/// A layer's query rows against the n positions of one sequence; the last row is at the last position.
template <class Real>
struct TrainingProblem {
  LayerShape shape;
  std::size_t rows, n;
  std::vector<Real> q;               // [rows, q_heads, d]
  std::vector<Real> k, v;            // [n, kv_heads, d] and [n, kv_heads, d_v]
  std::vector<Real> dout;            // [rows, q_heads, d_v]
  std::vector<float> sinks, slopes;  // [q_heads]
  bool with_sinks = false, with_slopes = false, causal = true;
  double soft_cap = 0;
  Grouping grouping = Grouping::kPerGroup;
  std::vector<skim::Span> visible;  // [rows], or empty

  TrainingProblem(const LayerShape& layer, std::size_t row_count, std::size_t positions, std::uint64_t seed,
                  double spread = 1.5)
      : shape(layer), rows(row_count), n(positions) {
    std::mt19937_64 generator(seed);
    std::normal_distribution<double> normal;
    const auto fill = [&](auto& x, std::size_t count, double times) {
      using T = typename std::remove_reference_t<decltype(x)>::value_type;
      x.resize(count);
      for (auto& y : x) y = static_cast<T>(times * normal(generator));
    };
    fill(q, rows * layer.q_heads * layer.d, spread);
    fill(k, n * layer.kv_heads * layer.d, 1);
    fill(v, n * layer.kv_heads * layer.d_v, 1);
    fill(dout, rows * layer.q_heads * layer.d_v, 1);
    fill(sinks, layer.q_heads, 1);
    for (std::size_t h = 0; h < layer.q_heads; ++h) slopes.push_back(0.3f / static_cast<float>(h + 1));
  }
  TrainingProblem(const TrainingProblem&) = delete;

  BasicLayerQuery<Real> query() const {
    BasicLayerQuery<Real> query;
    query.rows = {q.data(), rows, shape.q_heads, shape.d};
    query.causal = causal;
    query.logit.soft_cap = soft_cap;
    if (with_slopes) query.logit.alibi_slopes = slopes.data();
    if (with_sinks) query.sink_logits = sinks.data();
    query.visible = visible;
    query.grouping = grouping;
    query.stream.seed = 7;
    return query;
  }
  std::vector<ContiguousKv<Real>> views() const {
    std::vector<ContiguousKv<Real>> all;
    const HeadRows<const Real> keys{k.data(), n, shape.kv_heads, shape.d};
    const HeadRows<const Real> values{v.data(), n, shape.kv_heads, shape.d_v};
    for (std::size_t h = 0; h < shape.kv_heads; ++h) all.push_back({keys.head(h), values.head(h)});
    return all;
  }

  Position position(std::size_t row) const { return static_cast<Position>(n + row) - static_cast<Position>(rows); }
  std::size_t kv_head(std::size_t head) const { return head / shape.group(); }
};

/// Poisoned, fenced memory for a forward and a backward pass, and the calls that fill it.
template <class Real>
struct TrainingStep {
  const TrainingProblem<Real>& p;
  std::vector<ContiguousKv<Real>> views;
  Guarded<Real> out, lse, dq, dk, dv, dsink;
  std::vector<BasicKvGradient<Real>> kv_gradients;
  SelectionRecord record;

  explicit TrainingStep(const TrainingProblem<Real>& problem)
      : p(problem),
        views(p.views()),
        out(p.dout.size()),
        lse(p.rows * p.shape.q_heads),
        dq(p.q.size()),
        dk(p.k.size()),
        dv(p.v.size()),
        dsink(p.shape.q_heads) {
    const HeadRows<Real> dks{dk.data(), p.n, p.shape.kv_heads, p.shape.d};
    const HeadRows<Real> dvs{dv.data(), p.n, p.shape.kv_heads, p.shape.d_v};
    for (std::size_t h = 0; h < p.shape.kv_heads; ++h) kv_gradients.push_back({dks.head(h), dvs.head(h)});
  }

  LayerKv<ContiguousKv<Real>> kv() const { return {views, p.shape.kv_heads}; }
  BasicLayerState<Real> state() { return {{out.data(), p.rows, p.shape.q_heads, p.shape.d_v}, lse.data()}; }
  BasicLayerGradients<Real> gradients() {
    return {state(),
            {p.dout.data(), p.rows, p.shape.q_heads, p.shape.d_v},
            {dq.data(), p.rows, p.shape.q_heads, p.shape.d},
            kv_gradients,
            p.with_sinks ? dsink.data() : nullptr};
  }

  template <class E>
  void forward(const E& estimator, Options options = {}) {
    options.record = &record;
    attend(estimator, p.query(), kv(), state(), options);
  }
  void backward_from_record(const Options& options = {}) { backward(record, p.query(), kv(), gradients(), options); }
  template <class E>
  void run(const E& estimator, const Options& options = {}) {
    forward(estimator, options);
    backward_from_record(options);
  }

  testing::AssertionResult all_written() const {
    for (const Guarded<Real>* x : {&dq, &dk, &dv}) {
      if (const auto all = x->all_written(); !all) return all;
    }
    return dsink.fences_stand();
  }
};

/// What each row and query head reads, [rows, q_heads].
using Lists = std::vector<std::vector<Weighted>>;

template <class Real>
Lists lists_of(const SelectionRecord& record, const TrainingProblem<Real>& p) {
  Lists lists;
  for (std::size_t r = 0; r < p.rows; ++r) {
    for (std::size_t h = 0; h < p.shape.q_heads; ++h) {
      const std::size_t unit = r * p.shape.kv_heads + p.kv_head(h);
      const auto selected = record[unit * record.per_unit() + (record.per_unit() == 1 ? 0 : h % p.shape.group())];
      std::vector<Weighted> list;
      for (const skim::Span& span : selected.spans) {
        for (Position i = span.first; i < span.last; ++i) list.push_back({i, 1});
      }
      for (std::size_t i = 0; i < selected.picks.size(); ++i) {
        list.push_back({selected.picks[i], selected.log_weights ? std::exp(selected.log_weights[i]) : 1});
      }
      lists.push_back(std::move(list));
    }
  }
  return lists;
}

/// The numbers that a loss depends on, or the gradients in them.
struct Numbers {
  std::vector<double> q, k, v, sinks;  // shapes of TrainingProblem

  std::vector<double>& operator[](std::size_t i) { return i == 0 ? q : i == 1 ? k : i == 2 ? v : sinks; }
  static const char* name(std::size_t i) { return i == 0 ? "dq" : i == 1 ? "dk" : i == 2 ? "dv" : "dsink"; }
};

template <class Real>
Numbers numbers_of(const TrainingProblem<Real>& p) {
  return {
      {p.q.begin(), p.q.end()}, {p.k.begin(), p.k.end()}, {p.v.begin(), p.v.end()}, {p.sinks.begin(), p.sinks.end()}};
}

/// One row and query head of a layer, as the reference takes it.
template <class Real>
struct ReferenceRow {
  ReferenceQuery query;
  Matrix keys, values;         // of its KV head
  std::vector<double> logits;  // of all keys

  ReferenceRow(const TrainingProblem<Real>& p, const Numbers& x, std::size_t r, std::size_t h) {
    const LayerShape& s = p.shape;
    const auto column = [&](const std::vector<double>& all, std::size_t cols) {
      Matrix m{p.n, cols, {}};
      for (std::size_t i = 0; i < p.n; ++i) {
        const double* row = all.data() + (i * s.kv_heads + p.kv_head(h)) * cols;
        m.numbers.insert(m.numbers.end(), row, row + cols);
      }
      return m;
    };
    keys = column(x.k, s.d);
    values = column(x.v, s.d_v);
    const double* row = x.q.data() + (r * s.q_heads + h) * s.d;
    query = {{row, row + s.d}, 1 / std::sqrt(static_cast<double>(s.d)), p.soft_cap, 0, p.position(r)};
    if (p.with_slopes) query.alibi_slope = static_cast<double>(p.slopes[h]);
    logits = reference_logits(query, keys);
  }

  ReferenceState state(const std::vector<Weighted>& list, bool with_sink, double sink) const {
    ReferenceState state = reference_attention(logits, values, list);
    if (with_sink) add_sink(state, sink);
    return state;
  }
};

/// sum <dout, out> over all rows and heads, each reading its list.
template <class Real>
double reference_loss(const TrainingProblem<Real>& p, const Numbers& x, const Lists& lists) {
  double loss = 0;
  for (std::size_t r = 0, i = 0; r < p.rows; ++r) {
    for (std::size_t h = 0; h < p.shape.q_heads; ++h, ++i) {
      const ReferenceState state = ReferenceRow<Real>(p, x, r, h).state(lists[i], p.with_sinks, x.sinks[h]);
      for (std::size_t c = 0; c < p.shape.d_v; ++c)
        loss += static_cast<double>(p.dout[i * p.shape.d_v + c]) * state.out[c];
    }
  }
  return loss;
}

/// Gradients, and how far rounding may take them in arithmetic `Real`. With the bounds of close.h for lse and out of
/// a row, the relative error of a weight is 2 |lse error|, and from there on errors add up as the formulas have it.
struct ReferenceGradients {
  Numbers value, bound;
};

template <class Real>
ReferenceGradients reference_gradients(const TrainingProblem<Real>& p, const Lists& lists) {
  constexpr double kEps = Arithmetic<Real>::kEpsilon;
  const LayerShape& s = p.shape;
  const Numbers x = numbers_of(p);
  const auto zeros = [&] {
    return Numbers{std::vector<double>(x.q.size()), std::vector<double>(x.k.size()), std::vector<double>(x.v.size()),
                   std::vector<double>(x.sinks.size())};
  };
  ReferenceGradients g{zeros(), zeros()};
  Numbers magnitude = zeros();
  for (std::size_t r = 0, i = 0; r < p.rows; ++r) {
    for (std::size_t h = 0; h < s.q_heads; ++h, ++i) {
      const ReferenceRow<Real> row(p, x, r, h);
      const ReferenceState state = row.state(lists[i], p.with_sinks, x.sinks[h]);
      const Bound rounding = bound_of<Real>(row.query, row.keys, lists[i], state);
      const Real* dout = p.dout.data() + i * s.d_v;
      const auto product = [&](const auto& of) {
        double sum = 0, size = 0;
        for (std::size_t c = 0; c < s.d_v; ++c) {
          sum += static_cast<double>(dout[c]) * of(c);
          size += std::abs(static_cast<double>(dout[c]) * of(c));
        }
        return std::pair{sum, 2 * (std::sqrt(static_cast<double>(s.d_v)) + 2) * kEps * size};
      };
      auto [delta, delta_error] = product([&](std::size_t c) { return state.out[c]; });
      for (std::size_t c = 0; c < s.d_v; ++c) delta_error += std::abs(static_cast<double>(dout[c])) * rounding.out[c];
      if (p.with_sinks && state.lse > -kInf) {
        const double share = std::exp(x.sinks[h] - state.lse);
        g.value.sinks[h] -= share * delta;
        magnitude.sinks[h] += std::abs(share * delta);
        g.bound.sinks[h] += share * (2 * rounding.lse * std::abs(delta) + delta_error);
      }
      const std::size_t of_row = i * s.d;
      for (const Weighted& w : lists[i]) {
        const auto at = static_cast<std::size_t>(w.position);
        if (state.lse == -kInf) continue;
        const double weight = w.weight * std::exp(row.logits[at] - state.lse),
                     weight_error = 2 * rounding.lse + 4 * kEps;
        double slope = row.query.scale, slope_error = 2 * kEps;
        if (p.soft_cap > 0) {
          double capped = row.logits[at];
          if (p.with_slopes)
            capped += row.query.alibi_slope * std::abs(static_cast<double>(p.position(r) - w.position));
          const double share = capped / p.soft_cap;
          slope *= 1 - share * share;
          slope_error = 2 * (Arithmetic<Real>::kTanh + rounding.lse / p.soft_cap) + 4 * kEps;
        }
        const auto [inner, inner_error] = product([&](std::size_t c) { return row.values(at, c); });
        const double ds = weight * slope * (inner - delta);
        const double ds_error = std::abs(ds) * (weight_error + 4 * kEps) +
                                weight * row.query.scale * slope_error * std::abs(inner - delta) +
                                weight * std::abs(slope) * (inner_error + delta_error);
        const std::size_t of_key = (at * s.kv_heads + p.kv_head(h)) * s.d;
        const std::size_t of_value = (at * s.kv_heads + p.kv_head(h)) * s.d_v;
        for (std::size_t c = 0; c < s.d; ++c) {
          const double key = row.keys(at, c), query = row.query.row[c];
          g.value.q[of_row + c] += ds * key;
          g.value.k[of_key + c] += ds * query;
          g.bound.q[of_row + c] += ds_error * std::abs(key);
          g.bound.k[of_key + c] += ds_error * std::abs(query);
          magnitude.q[of_row + c] += std::abs(ds * key);
          magnitude.k[of_key + c] += std::abs(ds * query);
        }
        for (std::size_t c = 0; c < s.d_v; ++c) {
          const double size = std::abs(static_cast<double>(dout[c]));
          g.value.v[of_value + c] += weight * static_cast<double>(dout[c]);
          g.bound.v[of_value + c] += weight * weight_error * size;
          magnitude.v[of_value + c] += weight * size;
        }
      }
    }
  }
  // Sums over positions or rows: roundings taken as random.
  const double terms = static_cast<double>(std::max(p.n, p.rows * s.group()));
  for (std::size_t part = 0; part < 4; ++part) {
    for (std::size_t j = 0; j < magnitude[part].size(); ++j) {
      g.bound[part][j] += (8 + 2 * std::sqrt(terms)) * kEps * magnitude[part][j];
    }
  }
  return g;
}

/// Whether a step's gradients are those of the lists, within these bounds.
template <class Real>
testing::AssertionResult agrees(TrainingStep<Real>& step, const Lists& lists) {
  ReferenceGradients reference = reference_gradients(step.p, lists);
  const Real* parts[] = {step.dq.data(), step.dk.data(), step.dv.data(), step.dsink.data()};
  for (std::size_t part = 0; part < (step.p.with_sinks ? 4 : 3); ++part) {
    for (std::size_t i = 0; i < reference.value[part].size(); ++i) {
      const double x = parts[part][i], expected = reference.value[part][i], bound = reference.bound[part][i];
      if (is_close(x, expected, bound)) continue;
      return testing::AssertionFailure() << Numbers::name(part) << "[" << i << "] is " << x << ", the reference "
                                         << expected << ", the bound " << bound;
    }
  }
  return testing::AssertionSuccess();
}

template <class Real>
testing::AssertionResult same_bits(const TrainingStep<Real>& a, const TrainingStep<Real>& b) {
  const std::pair<const Guarded<Real>*, const Guarded<Real>*> parts[] = {
      {&a.dq, &b.dq}, {&a.dk, &b.dk}, {&a.dv, &b.dv}, {&a.dsink, &b.dsink}};
  for (std::size_t part = 0; part < 4; ++part) {
    const auto same = same_bits(parts[part].first->data(), parts[part].second->data(), parts[part].first->size());
    if (!same) return testing::AssertionFailure() << Numbers::name(part) << ": " << same.message();
  }
  return testing::AssertionSuccess();
}

}  // namespace skim::test

#endif  // SKIM_TESTS_SUPPORT_TRAINING_PROBLEM_H_
