// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_POISSON_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_POISSON_INL_H_
#undef SKIM_ESTIMATOR_POISSON_INL_H_
#else
#define SKIM_ESTIMATOR_POISSON_INL_H_
#endif

#include "skim/estimator/poisson.h"
#include "skim/estimator/proportional-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Chooses each rank on its own. u: [n], uniform on (0, 1], will be overwritten. Writes the chosen ranks,
/// ascending, and the log weight -ln p of each. Both hold n. Returns how many.
template <class Real>
std::size_t poisson_sample(const Tail<Real>& tail, Real* u, std::size_t* ranks, double* log_weights, Workspace& ws) {
  const Real log_c = log_inclusion(tail, ws);
  take_logs(u, tail.n);
  std::size_t out = 0;
  for (std::size_t i = 0; i < tail.n; ++i) {
    if (tail.log_proposal[i] == -kInfinity<Real>) continue;
    const Real log_p = std::min(Real{0}, tail.log_proposal[i] + log_c);
    if (!(u[i] <= log_p)) continue;
    ranks[out] = i;
    log_weights[out++] = -static_cast<double>(log_p);
  }
  return out;
}

template <>
struct Select<PoissonTail> {
  template <class Real, class Kv>
  static void run(const PoissonTail& e, const BasicQuery<Real>& q, const Kv& kv, Selection& selection,
                  Workspace& ws) {
    const Tail<Real> tail = tail_of(e.budget, e.by, q, kv, selection, ws);
    if (tail.n == 0) return;
    Real* u = uniforms(q, selection, tail.n, ws);
    auto* ranks = ws.get<std::size_t>(Workspace::kChosen, tail.n);
    double* log_weights = ws.get<double>(Workspace::kWeights, tail.n);
    const std::size_t count = poisson_sample(tail, u, ranks, log_weights, ws);
    add_ranks(selection, q.visible, ranks, count, [=](std::size_t j) { return log_weights[j]; });
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_POISSON_INL_H_
