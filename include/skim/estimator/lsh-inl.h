// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_LSH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_LSH_INL_H_
#undef SKIM_ESTIMATOR_LSH_INL_H_
#else
#define SKIM_ESTIMATOR_LSH_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <numbers>

#include "skim/estimator/lsh.h"
#include "skim/estimator/select-inl.h"
#include "skim/index/collisions-inl.h"
#include "skim/index/scores-inl.h"
#include "skim/kernel/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// ln u of keys at these cosines to the query, u their probability to be selected; -infinity where it is 0 (c = -1). A
/// cosine that rounding took out of [-1, 1] is put back.
HWY_INLINE Vec<double> log_inclusion(const LshTail& e, Vec<double> cosine) {
  const Tag<double> tag;
  const auto one = hn::Set(tag, 1.0), zero = hn::Zero(tag);
  const auto tables = hn::Set(tag, static_cast<double>(e.tables));
  const auto c = hn::Min(hn::Max(cosine, hn::Set(tag, -1.0)), one);
  // 1 - acos(c) / pi, without a difference where it is small.
  const auto p = hn::Mul(hn::Acos(tag, hn::Neg(c)), hn::Set(tag, 1 / std::numbers::pi));
  auto power = p;  // P
  for (std::size_t b = 1; b < e.bits; ++b) power = hn::Mul(power, p);
  const auto below_one = hn::Min(power, hn::Set(tag, 1 - 0x1p-53));
  const auto log_miss = hn::Log1p(tag, hn::Neg(below_one));
  auto log_u = zero;
  if (e.collisions == 1) {
    log_u = hn::Log(tag, hn::Neg(hn::Expm1(tag, hn::Mul(tables, log_miss))));
  } else {
    const double others = static_cast<double>(e.tables) - 1;
    const auto log_none_or_one =
        hn::MulAdd(hn::Set(tag, others), log_miss, hn::Log1p(tag, hn::Mul(hn::Set(tag, others), below_one)));
    log_u = hn::Log(tag, hn::Neg(hn::Expm1(tag, log_none_or_one)));
    // Where both terms nearly cancel, the beginning of the binomial series: what it leaves out is (L P)^2.
    const double pairs = static_cast<double>(e.tables) * others / 2;
    const auto next = hn::Mul(hn::Set(tag, -2.0 / 3 * (others - 1)), power);
    const auto series = hn::Add(hn::MulAdd(hn::Set(tag, 2 * static_cast<double>(e.bits)), hn::Log(tag, p),
                                           hn::Set(tag, std::log(pairs))),
                                hn::Log1p(tag, next));
    log_u = hn::IfThenElse(hn::Lt(hn::Mul(tables, power), hn::Set(tag, 1e-4)), series, log_u);
  }
  log_u = hn::Min(log_u, zero);
  return hn::IfThenElse(hn::Gt(p, zero), log_u, hn::Set(tag, -kInfinity<double>));
}

/// Log weights, -ln u, of keys by their dot products with the query and their squares. length: of the query. A vector
/// without a direction is met as if at a right angle, since its code has nothing to do with the other's; but two of them
/// have the same.
inline void lsh_log_weights(const LshTail& e, const float* products, const float* squares, double length, std::size_t count,
                            double* out) {
  const Tag<double> tag;
  constexpr std::size_t kN = kLanes<double>;
  const auto zero = hn::Zero(tag), of_none = hn::Set(tag, length > 0 ? 0.0 : 1.0);
  for (std::size_t i = 0; i < count; i += kN) {
    double product[kN], square[kN];
    for (std::size_t j = 0; j < kN; ++j) {
      const std::size_t at = std::min(i + j, count - 1);
      product[j] = static_cast<double>(products[at]);
      square[j] = static_cast<double>(squares[at]);
    }
    const auto key = hn::Sqrt(hn::LoadU(tag, square));
    const auto both = hn::Mul(key, hn::Set(tag, length));
    const auto with_direction = hn::Div(hn::LoadU(tag, product), both);
    const auto without = hn::IfThenElse(hn::Eq(key, zero), of_none, zero);
    const auto cosine = hn::IfThenElse(hn::Gt(both, zero), with_direction, without);
    double weights[kN];
    hn::StoreU(hn::Neg(log_inclusion(e, cosine)), tag, weights);
    std::copy_n(weights, std::min(kN, count - i), out + i);
  }
}

template <>
struct Select<LshTail> {
  template <class Real, class Kv>
  static void run(const LshTail& e, const BasicQuery<Real>& q, const Kv& kv, Selection& selection, Workspace& ws) {
    with_carried<LshTables>(kv, [&](const LshTables& tables) {
      if constexpr (std::is_same_v<Real, float>) run(e, tables, q, plain(kv), selection, ws);
    });
  }

 private:
  template <class Kv>
  static void run(const LshTail& e, const LshTables& tables, const BasicQuery<float>& q, const Kv& kv, Selection& selection,
                  Workspace& ws) {
    const Span hashed = intersect(q.visible, {0, tables.hashed()});
    Met met;
    double* weights = nullptr;
    if (count_gaps(selection, hashed) > 0) {
      const std::size_t d = q.rows.cols;
      float* row = ws.get<float>(Workspace::kIndexQuery, d + (e.tables + 1) / 2);
      auto* codes = reinterpret_cast<std::uint16_t*>(row + d);
      const double length = pool_directions(q, row, ws);
      hash_query(tables.planes(), e.tables, row, codes, ws);
      met = collisions(tables, codes, e.tables, e.collisions, q.visible, selection, ws);
      if (met.count != 0) {
        const std::size_t padded = round_up(met.count, 4) + 4;
        float* products = ws.get<float>(Workspace::kShortlist, 2 * padded);
        angles(tables, kv, row, met, products, products + padded, ws);
        weights = ws.get<double>(Workspace::kWeights, met.count);
        lsh_log_weights(e, products, products + padded, length, met.count, weights);
        certain(LshAccess::unhashed(tables), met, weights);
      }
    }
    // Before the picks: gaps are found among what is in order.
    const Span newest{std::max(q.visible.first, tables.hashed()), q.visible.last};
    if (newest.size() > 0) add_gaps(selection, newest);
    for (std::size_t j = 0; j < met.count; ++j) {
      // What cannot be met, and was by rounding.
      if (weights[j] < kInfinity<double>) selection.add(met.positions[j], weights[j]);
    }
  }

  /// What has no hash has weight 1.
  static void certain(const Buffer<Position>& unhashed, const Met& met, double* weights) {
    for (std::size_t u = 0, j = 0; u < unhashed.size() && j < met.count; ++u) {
      while (j < met.count && met.positions[j] < unhashed[u]) ++j;
      if (j < met.count && met.positions[j] == unhashed[u]) weights[j] = 0;
    }
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_LSH_INL_H_
