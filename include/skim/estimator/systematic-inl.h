// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_SYSTEMATIC_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_SYSTEMATIC_INL_H_
#undef SKIM_ESTIMATOR_SYSTEMATIC_INL_H_
#else
#define SKIM_ESTIMATOR_SYSTEMATIC_INL_H_
#endif

#include "skim/estimator/proportional-inl.h"
#include "skim/estimator/systematic.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Chooses tail.budget ranks from one uniform number u on (0, 1]. Writes them, ascending, and the log weight
/// -ln p of each. Both hold the budget. Returns how many.
template <class Real>
std::size_t systematic_sample(const Tail<Real>& tail, double u, std::size_t* ranks, double* log_weights,
                              Workspace& ws) {
  const Real log_c = log_inclusion(tail, ws);
  Real* p = ws.get<Real>(Workspace::kPriorities, tail.n);
  exp_shifted(tail.log_proposal, tail.n, log_c, p);
  // Those certain to be chosen stand outside of the prefix sums; the others share the points that are left.
  double total = 0;
  std::size_t certain = 0;
  for (std::size_t i = 0; i < tail.n; ++i) {
    if (p[i] == 1) ++certain;
    else total += static_cast<double>(p[i]);
  }
  const std::size_t points = certain < tail.budget && total > 0 ? tail.budget - certain : 0;
  const auto count = static_cast<double>(points);
  std::size_t passed = 0, out = 0;
  double prefix = 0;
  for (std::size_t i = 0; i < tail.n && out < tail.budget; ++i) {  // more logits of +inf than that are all certain
    if (p[i] == 1) {
      ranks[out] = i;
      log_weights[out++] = 0;
      continue;
    }
    prefix += static_cast<double>(p[i]);
    // Point j is at (j + u) total / points. Multiplied out, so that rounding cannot put the last one beyond the end.
    if (passed < points && (static_cast<double>(passed) + u) * total <= prefix * count) {
      ++passed;
      ranks[out] = i;
      log_weights[out++] = std::log(total / (count * static_cast<double>(p[i])));
    }
  }
  return out;
}

template <>
struct Select<SystematicTail> {
  template <class Real, class Kv>
  static void run(const SystematicTail& e, const BasicQuery<Real>& q, const Kv& kv, Selection& selection,
                  Workspace& ws) {
    const Tail<Real> tail = tail_of(e.budget, e.by, q, kv, selection, ws);
    if (tail.n == 0) return;
    auto* ranks = ws.get<std::size_t>(Workspace::kChosen, tail.n);
    double* log_weights = ws.get<double>(Workspace::kWeights, tail.n);
    const double u = Draws(q.stream, q.position).uniform(0);
    const std::size_t count = systematic_sample(tail, u, ranks, log_weights, ws);
    add_ranks(selection, q.visible, ranks, count, [=](std::size_t j) { return log_weights[j]; });
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_SYSTEMATIC_INL_H_
