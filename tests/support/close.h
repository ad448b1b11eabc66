// SPDX-License-Identifier: Apache-2.0
// How far may a result be from the reference? As far as rounding explains, and no further.
//
// With eps = 2^-24 (2^-53 in double), n_b keys in a block of the accumulation and B blocks:
//
//   |out - ref| <= (2 ds + 2 e + (8 + 2 sqrt(B) + 2 sqrt(n_b)) eps) sum_k p_k |v_k|
//   |lse - ref| <=  ds + e + (4 max(1, |lse|) + 8 + 2 sqrt(B) + 2 sqrt(n_b)) eps
//
// e is the relative error of the kernel's exp, and ds bounds the error of a logit:
//
//   ds = 2 (sqrt(d) + 2) eps scale max_k sum_c |q_c k_c|
//        + soft_cap e_tanh + 2 eps |alibi slope * distance| + 2 eps |ln w|
//
// (square roots: rounding errors are taken as random.)
#ifndef SKIM_TESTS_SUPPORT_CLOSE_H_
#define SKIM_TESTS_SUPPORT_CLOSE_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "support/reference.h"

namespace skim::test {

struct Bound {
  std::vector<double> out;  // [d_v]
  double lse = 0;
};

/// Machine arithmetic: what the rule needs to know of it.
template <class Real>
struct Arithmetic;
template <>
struct Arithmetic<float> {
  static constexpr double kEpsilon = 0x1p-24;
  static constexpr double kExp = 4e-7;   // what simd-inl.h states of its exp
  static constexpr double kTanh = 2e-7;  // absolute
};
template <>
struct Arithmetic<double> {
  static constexpr double kEpsilon = 0x1p-53;
  static constexpr double kExp = 0x1p-50;
  static constexpr double kTanh = 0x1p-50;
};

/// The rule above, for one query row over `list`.
template <class Real>
Bound bound_of(const ReferenceQuery& q, const Matrix& keys, const std::vector<Weighted>& list,
               const ReferenceState& reference) {
  constexpr double kEps = Arithmetic<Real>::kEpsilon;
  constexpr double kKeysInBlock = 64;
  double dot = 0, distance = 0, log_weight = 0;
  for (const Weighted& w : list) {
    double sum = 0;
    for (std::size_t c = 0; c < keys.cols; ++c) {
      const double product = std::abs(q.row[c] * keys(static_cast<std::size_t>(w.position), c));
      if (std::isfinite(product)) sum += product;
    }
    dot = std::max(dot, sum);
    distance = std::max(distance, std::abs(static_cast<double>(q.position - w.position)));
    log_weight = std::max(log_weight, std::abs(std::log(w.weight)));
  }
  const double d = static_cast<double>(keys.cols);
  const double logit = 2 * (std::sqrt(d) + 2) * kEps * std::abs(q.scale) * dot +
                       q.soft_cap * Arithmetic<Real>::kTanh +
                       2 * kEps * std::abs(q.alibi_slope) * distance + 2 * kEps * log_weight;
  const double blocks = std::ceil(static_cast<double>(list.size()) / kKeysInBlock);
  const double sums = 2 * std::sqrt(blocks) + 2 * std::sqrt(kKeysInBlock);

  Bound bound;
  for (const double magnitude : reference.out_magnitude) {
    bound.out.push_back((2 * logit + 2 * Arithmetic<Real>::kExp + (8 + sums) * kEps) * magnitude);
  }
  const double lse = std::isfinite(reference.lse) ? std::max(1.0, std::abs(reference.lse)) : 1.0;
  bound.lse = logit + Arithmetic<Real>::kExp + (4 * lse + 8 + sums) * kEps;
  return bound;
}

/// One number: NaN agrees with NaN only, an infinity with itself only.
inline bool is_close(double x, double reference, double bound) {
  if (std::isnan(x) || std::isnan(reference)) return std::isnan(x) && std::isnan(reference);
  if (std::isinf(x) || std::isinf(reference)) return x == reference;
  return std::abs(x - reference) <= bound;
}

/// One row of a result: out [d_v] and lse.
template <class Real>
testing::AssertionResult is_close(const Real* out, Real lse, const ReferenceState& reference,
                                  const Bound& bound) {
  for (std::size_t c = 0; c < reference.out.size(); ++c) {
    if (is_close(out[c], reference.out[c], bound.out[c])) continue;
    return testing::AssertionFailure() << "out[" << c << "] is " << out[c] << ", the reference "
                                       << reference.out[c] << ", the bound " << bound.out[c];
  }
  if (is_close(lse, reference.lse, bound.lse)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "lse is " << lse << ", the reference " << reference.lse
                                     << ", the bound " << bound.lse;
}

/// Bit for bit, except that any NaN equals any other.
template <class Real>
testing::AssertionResult same_bits(const Real* a, const Real* b, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (std::memcmp(a + i, b + i, sizeof(Real)) == 0 || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
    return testing::AssertionFailure() << "number " << i << " of " << count << " is " << a[i] << " and "
                                       << b[i] << ": they differ by " << a[i] - b[i];
  }
  return testing::AssertionSuccess();
}

}  // namespace skim::test

#endif  // SKIM_TESTS_SUPPORT_CLOSE_H_
