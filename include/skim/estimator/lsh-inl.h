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
#include "skim/index/angles-inl.h"
#include "skim/index/collisions-inl.h"
#include "skim/index/scores-inl.h"
#include "skim/kernel/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

// ln u of many keys: step after step over all of them, since one key's steps wait for each other.

/// The probability that a random plane has both on one side, 1 - acos(c) / pi, without a difference where it is small.
/// A cosine that rounding took out of [-1, 1] is put back.
HWY_INLINE Vec<double> side_probability(Vec<double> cosine) {
  const Tag<double> tag;
  const auto c = hn::Min(hn::Max(cosine, hn::Set(tag, -1.0)), hn::Set(tag, 1.0));
  return hn::Mul(hn::Acos(tag, hn::Neg(c)), hn::Set(tag, 1 / std::numbers::pi));
}

/// P, the probability to share a bucket; below 1, so that its complement has a logarithm.
HWY_INLINE Vec<double> bucket_probability(const LshTail& e, Vec<double> p) {
  const Tag<double> tag;
  auto power = hn::Set(tag, 1 - 0x1p-53), square = p;
  for (std::size_t b = e.bits; b != 0; b /= 2, square = hn::Mul(square, square)) {
    if (b % 2 == 1) power = hn::Mul(power, square);
  }
  return power;
}

/// ln (1 - u): no collision, or if two are wanted at most one.
HWY_INLINE Vec<double> log_missed(const LshTail& e, Vec<double> p) {
  const Tag<double> tag;
  const auto power = bucket_probability(e, p);
  const auto log_miss = hn::Log1p(tag, hn::Neg(power));
  if (e.collisions == 1) return hn::Mul(hn::Set(tag, static_cast<double>(e.tables)), log_miss);
  const auto others = hn::Set(tag, static_cast<double>(e.tables) - 1);
  return hn::MulAdd(others, log_miss, hn::Log1p(tag, hn::Mul(others, power)));
}

/// ln u; -infinity where u is 0.
HWY_INLINE Vec<double> log_selected(const LshTail& e, Vec<double> p, Vec<double> log_missed) {
  const Tag<double> tag;
  const auto zero = hn::Zero(tag);
  auto log_u = hn::Log(tag, hn::Neg(hn::Expm1(tag, log_missed)));
  if (e.collisions == 2) {
    // Where the two terms of log_missed nearly cancel, the binomial series: what it leaves out is of the order (L P)^2.
    const double tables = static_cast<double>(e.tables);
    const auto power = bucket_probability(e, p);
    const auto rare = hn::Lt(power, hn::Set(tag, 1e-4 / tables));
    if (!hn::AllFalse(tag, rare)) {
      const auto of_two = hn::MulAdd(hn::Set(tag, 2 * static_cast<double>(e.bits)), hn::Log(tag, p),
                                     hn::Set(tag, std::log(tables * (tables - 1) / 2)));
      const auto of_more = hn::Log1p(tag, hn::Mul(hn::Set(tag, -2.0 / 3 * (tables - 2)), power));
      log_u = hn::IfThenElse(rare, hn::Add(of_two, of_more), log_u);
    }
  }
  return hn::IfThenElse(hn::Gt(p, zero), hn::Min(log_u, zero), hn::Set(tag, -kInfinity<double>));
}

/// Log weights, -ln u, of keys by their dot products with the query and their squares. length: of the query. A vector
/// without a direction is met as if at a right angle, since its code has nothing to do with the other's; but two of
/// them have the same. p, out: [count], and room for another vector.
inline void lsh_log_weights(const LshTail& e, const float* products, const float* squares, double length,
                            std::size_t count, double* HWY_RESTRICT p, double* HWY_RESTRICT out) {
  const Tag<double> tag;
  const hn::Rebind<float, Tag<double>> floats;
  constexpr std::size_t kN = kLanes<double>;
  const auto zero = hn::Zero(tag), of_none = hn::Set(tag, length > 0 ? 0.0 : 1.0), of_query = hn::Set(tag, length);
  for (std::size_t i = 0; i < count; i += kN) {
    const auto key = hn::Sqrt(hn::PromoteTo(tag, hn::LoadU(floats, squares + i)));
    const auto both = hn::Mul(key, of_query);
    const auto with_direction = hn::Div(hn::PromoteTo(tag, hn::LoadU(floats, products + i)), both);
    const auto without = hn::IfThenElse(hn::Eq(key, zero), of_none, zero);
    hn::StoreU(side_probability(hn::IfThenElse(hn::Gt(both, zero), with_direction, without)), tag, p + i);
  }
  for (std::size_t i = 0; i < count; i += kN) hn::StoreU(log_missed(e, hn::LoadU(tag, p + i)), tag, out + i);
  for (std::size_t i = 0; i < count; i += kN) {
    hn::StoreU(hn::Neg(log_selected(e, hn::LoadU(tag, p + i), hn::LoadU(tag, out + i))), tag, out + i);
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
  static void run(const LshTail& e, const LshTables& tables, const BasicQuery<float>& q, const Kv& kv,
                  Selection& selection, Workspace& ws) {
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
        const std::size_t padded = round_up(met.count, kBlock) + kBlock;
        float* products = ws.get<float>(Workspace::kShortlist, 2 * padded);
        angles(tables, kv, row, met, products, products + padded, ws);
        weights = ws.get<double>(Workspace::kWeights, 2 * padded);
        lsh_log_weights(e, products, products + padded, length, met.count, weights + padded, weights);
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
