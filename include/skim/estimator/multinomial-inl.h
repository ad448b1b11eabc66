// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_MULTINOMIAL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_MULTINOMIAL_INL_H_
#undef SKIM_ESTIMATOR_MULTINOMIAL_INL_H_
#else
#define SKIM_ESTIMATOR_MULTINOMIAL_INL_H_
#endif

#include "skim/estimator/multinomial.h"
#include "skim/estimator/proportional-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Draws from e^{log_proposal}. u: uniform on (0, 1], one a draw, will be sorted. Writes the ranks drawn,
/// ascending, and the log weight of each, ln(c / (draws pi)). Both hold `draws`. Returns how many.
template <class Real>
std::size_t multinomial_sample(const Tail<Real>& tail, double* u, std::size_t* ranks, double* log_weights,
                               Workspace& ws) {
  Real* size = ws.get<Real>(Workspace::kPriorities, tail.n);
  Real top = -kInfinity<Real>;
  for (std::size_t i = 0; i < tail.n; ++i) top = std::max(top, tail.log_proposal[i]);
  if (top == -kInfinity<Real>) return 0;
  exp_shifted(tail.log_proposal, tail.n, -top, size);
  double total = 0;
  for (std::size_t i = 0; i < tail.n; ++i) total += static_cast<double>(size[i]);

  const std::size_t draws = tail.budget;
  std::sort(u, u + draws, Ascending{});
  std::size_t drawn = 0, out = 0;
  double prefix = 0;  // the same sums as in total: the last key is reached
  for (std::size_t i = 0; i < tail.n && drawn < draws; ++i) {
    prefix += static_cast<double>(size[i]);
    const std::size_t before = drawn;
    while (drawn < draws && u[drawn] * total <= prefix) ++drawn;
    if (drawn == before) continue;
    const double expected = static_cast<double>(draws) * static_cast<double>(size[i]) / total;
    ranks[out] = i;
    log_weights[out++] = std::log(static_cast<double>(drawn - before) / expected);
  }
  return out;
}

template <>
struct Select<MultinomialTail> {
  template <class Real, class Kv>
  static void run(const MultinomialTail& e, const BasicQuery<Real>& q, const Kv& kv, Selection& selection,
                  Workspace& ws) {
    const Tail<Real> tail = tail_of(e.budget, e.by, q, kv, selection, ws);
    if (tail.n == 0) return;
    const Draws draws(q.stream, q.position);
    double* u = ws.get<double>(Workspace::kSurvivors, 2 * tail.budget);
    for (std::size_t i = 0; i < tail.budget; ++i) u[i] = draws.uniform(i);
    auto* ranks = ws.get<std::size_t>(Workspace::kRanks, tail.budget);
    double* log_weights = u + tail.budget;
    const std::size_t count = multinomial_sample(tail, u, ranks, log_weights, ws);
    add_ranks(selection, q.visible, ranks, count, [=](std::size_t j) { return log_weights[j]; });
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_MULTINOMIAL_INL_H_
