// SPDX-License-Identifier: Apache-2.0
// What is attention? In double precision, as plain as a textbook.
#ifndef SKIM_TESTS_SUPPORT_REFERENCE_H_
#define SKIM_TESTS_SUPPORT_REFERENCE_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace skim::test {

/// Rows of numbers.
struct Matrix {
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::vector<double> numbers;  // [rows, cols]

  double operator()(std::size_t r, std::size_t c) const { return numbers[r * cols + c]; }
};

/// One query row and how it and a key become a logit.
struct ReferenceQuery {
  std::vector<double> row;  // [d]
  double scale = 1;
  double soft_cap = 0;     // 0: none
  double alibi_slope = 0;  // 0: none
  std::int64_t position = 0;
};

/// A position and how much it counts.
struct Weighted {
  std::int64_t position = 0;
  double weight = 1;
};

struct ReferenceState {
  std::vector<double> out;            // [d_v]
  double lse = 0;                     // natural log
  std::vector<double> out_magnitude;  // [d_v], sum of p_i |v_i|: what an error in p is multiplied by
};

inline constexpr double kInf = std::numeric_limits<double>::infinity();
inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

inline double reference_logit(const ReferenceQuery& q, const Matrix& keys, std::size_t i) {
  double dot = 0;
  for (std::size_t c = 0; c < keys.cols; ++c) dot += q.row[c] * keys(i, c);
  double s = q.scale * dot;
  if (q.soft_cap > 0) s = q.soft_cap * std::tanh(s / q.soft_cap);
  if (q.alibi_slope != 0) {
    s -= q.alibi_slope * std::abs(static_cast<double>(q.position - static_cast<std::int64_t>(i)));
  }
  return s;
}

inline std::vector<double> reference_logits(const ReferenceQuery& q, const Matrix& keys) {
  std::vector<double> s(keys.rows);
  for (std::size_t i = 0; i < keys.rows; ++i) s[i] = reference_logit(q, keys, i);
  return s;
}

/// The largest logit of a list; NaN if there is one, -inf for an empty list.
inline double reference_max(const std::vector<double>& s, const std::vector<Weighted>& list) {
  double max = -kInf;
  for (const Weighted& w : list) {
    const double x = s[static_cast<std::size_t>(w.position)];
    if (std::isnan(x)) return kNan;
    if (x > max) max = x;
  }
  return max;
}

/// w e^{s - max}. Where s and max are infinite both, the limit: 1.
inline double reference_term(double s, double max, double weight) {
  return s == max ? weight : weight * std::exp(s - max);
}

/// o = sum w e^s v / sum w e^s and lse = ln sum w e^s over a list of positions. An empty list, or one of
/// nothing but logits of -inf, gives 0 and -inf. One logit of +inf takes everything; several have no
/// limit, so NaN.
inline ReferenceState reference_attention(const std::vector<double>& s, const Matrix& values,
                                          const std::vector<Weighted>& list) {
  ReferenceState state;
  state.out.assign(values.cols, 0);
  state.out_magnitude.assign(values.cols, 0);
  state.lse = -kInf;
  const double max = reference_max(s, list);
  if (max == -kInf) return state;

  double sum = 0;
  int infinite = 0;
  for (const Weighted& w : list) {
    const double x = s[static_cast<std::size_t>(w.position)];
    sum += reference_term(x, max, w.weight);
    infinite += x == kInf ? 1 : 0;
  }
  if (infinite > 1) sum = kNan;
  state.lse = max + std::log(sum);
  for (const Weighted& w : list) {
    const auto i = static_cast<std::size_t>(w.position);
    const double p = reference_term(s[i], max, w.weight) / sum;
    for (std::size_t c = 0; c < values.cols; ++c) {
      state.out[c] += p * values(i, c);
      state.out_magnitude[c] += p * std::abs(values(i, c));
    }
  }
  return state;
}

/// All of [first, last), with weight 1.
inline std::vector<Weighted> everything(std::int64_t first, std::int64_t last) {
  std::vector<Weighted> list;
  for (std::int64_t i = first; i < last; ++i) list.push_back({i, 1.0});
  return list;
}

/// A learned sink logit: one more term of the denominator, none of the numerator.
inline void add_sink(ReferenceState& state, double sink) {
  if (sink == -kInf) return;
  const double max = state.lse > sink ? state.lse : sink;
  const double kept = state.lse == max ? 1 : std::exp(state.lse - max);
  const double total = kept + (sink == max ? 1 : std::exp(sink - max));
  for (double& x : state.out) x *= kept / total;
  for (double& x : state.out_magnitude) x *= kept / total;
  state.lse = max + std::log(total);
}

}  // namespace skim::test

#endif  // SKIM_TESTS_SUPPORT_REFERENCE_H_
