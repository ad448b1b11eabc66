// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_PRIORITY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_PRIORITY_INL_H_
#undef SKIM_ESTIMATOR_PRIORITY_INL_H_
#else
#define SKIM_ESTIMATOR_PRIORITY_INL_H_
#endif

#include "skim/estimator/priority.h"
#include "skim/estimator/proportional-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// What priority sampling has chosen.
template <class Real>
struct PrioritySample {
  const std::size_t* ranks = nullptr;  ///< ascending
  std::size_t count = 0;
  Real log_tau = -kInfinity<Real>;  ///< ln of the first priority that was not chosen

  /// ln of the weight of a chosen rank whose log proposal is s. It depends on what was sampled from and on
  /// nothing else, whatever the exact logit is: that is what makes it unbiased.
  double log_weight(Real s) const {
    return log_tau > s ? static_cast<double>(log_tau) - static_cast<double>(s) : 0.0;
  }
};

/// Chooses `budget` of n ranks, 0 < budget < n. log_proposal: [n], no NaN; -inf has probability 0.
/// u: [n], uniform on (0, 1]; overwritten with the log priorities.
template <class Real>
PrioritySample<Real> priority_sample(const Real* log_proposal, Real* u, std::size_t n, std::size_t budget,
                                     Workspace& ws) {
  take_logs(u, n);
  for (std::size_t i = 0; i < n; ++i) u[i] = log_proposal[i] - u[i];
  const Largest<Real> top = largest(u, n, budget + 1, ws);
  PrioritySample<Real> sample{top.ranks, 0, top.least};
  for (std::size_t j = 0; j < top.count; ++j) {  // all but the last in order
    const std::size_t rank = top.ranks[j];
    if (rank != top.least_rank && u[rank] > -kInfinity<Real>) top.ranks[sample.count++] = rank;
  }
  return sample;
}

template <>
struct Select<PriorityTail> {
  template <class Real, class Kv>
  static void run(const PriorityTail& e, const BasicQuery<Real>& q, const Kv& kv, Selection& selection,
                  Workspace& ws) {
    const Tail<Real> tail = tail_of(e.budget, e.by, q, kv, selection, ws);
    if (tail.n == 0) return;
    Real* u = uniforms(q, selection, tail.n, ws);
    const PrioritySample<Real> sample = priority_sample(tail.log_proposal, u, tail.n, tail.budget, ws);
    add_ranks(selection, q.visible, sample.ranks, sample.count,
              [&](std::size_t j) { return sample.log_weight(tail.log_proposal[sample.ranks[j]]); });
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_PRIORITY_INL_H_
