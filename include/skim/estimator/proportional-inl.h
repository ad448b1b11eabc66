// SPDX-License-Identifier: Apache-2.0
// Sampling with probability proportional to size: what the tails that draw from the softmax share.
#if defined(SKIM_ESTIMATOR_PROPORTIONAL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_PROPORTIONAL_INL_H_
#undef SKIM_ESTIMATOR_PROPORTIONAL_INL_H_
#else
#define SKIM_ESTIMATOR_PROPORTIONAL_INL_H_
#endif

#include <cmath>
#include <limits>

#include "skim/core/budget.h"
#include "skim/core/random.h"
#include "skim/estimator/select-inl.h"
#include "skim/index/allowed-inl.h"
#include "skim/index/scores-inl.h"
#include "skim/kernel/pool-inl.h"
#include "skim/kernel/uniforms-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// A residual to sample from: its log proposals and how many to choose.
template <class Real>
struct Tail {
  const Real* log_proposal = nullptr;  // [n], no NaN; -inf has probability 0
  std::size_t n = 0;
  std::size_t budget = 0;
};

/// The width of a proposal by an index: what it ranks further below its largest score, or what has no score, it
/// proposes as if it were e^-16 as likely. So every position can be chosen, and the floors of 131,072 of them together
/// weigh no more than a hundredth of the largest.
template <class Real>
constexpr Real kProposalRange = 16;

/// Scores of an index become a proposal, in place: relative to the largest finite one, which +infinity counts as, and
/// no lower than kProposalRange below it. -infinity stays where it `rules_out` a position. (Relative, because a priority
/// ln (a / u) must keep the digits of ln u however large the scores are; no sampler sees what all of them are shifted by.)
template <class Real>
void raise_to_floor(Real* x, std::size_t n, bool rules_out) {
  const Tag<Real> tag;
  constexpr Real kMost = std::numeric_limits<Real>::max();
  const auto infinite = hn::Set(tag, kInfinity<Real>);
  auto tops = hn::Set(tag, -kMost);
  std::size_t i = 0;
  for (; i + kLanes<Real> <= n; i += kLanes<Real>) {
    const auto v = hn::LoadU(tag, x + i);
    tops = hn::Max(tops, hn::IfThenElse(hn::Lt(v, infinite), v, tops));
  }
  Real top = hn::GetLane(hn::MaxOfLanes(tag, tops));
  for (; i < n; ++i) top = x[i] < kInfinity<Real> && x[i] > top ? x[i] : top;
  const auto zero = hn::Zero(tag), origin = hn::Set(tag, top), floor = hn::Set(tag, -kProposalRange<Real>);
  const auto never = hn::Set(tag, rules_out ? -kInfinity<Real> : std::numeric_limits<Real>::quiet_NaN());
  i = 0;
  for (; i + kLanes<Real> <= n; i += kLanes<Real>) {
    const auto v = hn::LoadU(tag, x + i);
    const auto raised = hn::Min(hn::Max(hn::Sub(v, origin), floor), zero);
    hn::StoreU(hn::IfThenElse(hn::Eq(v, never), v, raised), tag, x + i);
  }
  for (; i < n; ++i) {
    if (!rules_out || x[i] > -kInfinity<Real>) x[i] = std::min(std::max(x[i] - top, -kProposalRange<Real>), Real{0});
  }
}

/// What is left for a sampling stage, with the log proposals of `by`; what `by` cannot rank (has_own_scale) it selects.
/// When nothing is to be chosen, or everything, it does that and returns n = 0. A position that the keys themselves give
/// no probability (a logit of -inf or NaN) has none; an index gives each one some, since its score is only a guess, and
/// so do the caller's scores but for -inf.
template <class Real, class Kv>
Tail<Real> tail_of(const Budget& budget, Source by, const BasicQuery<Real>& q, const Kv& kv, Selection& selection,
                   Workspace& ws) {
  const std::size_t count = budget.count(q.visible.size());
  if (count == 0 || count_gaps(selection, q.visible) == 0) return {};
  if (add_all_allowed(by, count, q, kv, selection, ws)) return {};
  const Scores<Real> x = scores(by, q, kv, ws);
  if (has_own_scale(by)) {
    select_not_covered(x, q.visible, selection);
    if (add_all_allowed(by, count, q, kv, selection, ws)) return {};
  }
  const Pooled<Real> pooled = pool_log_share(x, selection, q.visible, ws);
  if (by != Source::kKeys) raise_to_floor(pooled.scores, pooled.count, by == Source::kExternal);
  return {pooled.scores, pooled.count, count};
}

/// One uniform number on (0, 1] for each position that is not selected yet, keyed by the position.
template <class Real>
Real* uniforms(const BasicQuery<Real>& q, const Selection& selection, std::size_t n, Workspace& ws) {
  Real* u = ws.get<Real>(Workspace::kPriorities, n);
  const Draws draws(q.stream, q.position);
  Real* out = u;
  for_each_gap(selection, q.visible, [&](Span gap) {
    fill_uniforms(draws, gap.first, static_cast<std::size_t>(gap.size()), out);
    out += gap.size();
  });
  return u;
}

/// x[i] = ln u[i], in place.
template <class Real>
void take_logs(Real* u, std::size_t n) {
  const Tag<Real> tag;
  std::size_t i = 0;
  for (; i + kLanes<Real> <= n; i += kLanes<Real>) hn::StoreU(hn::Log(tag, hn::LoadU(tag, u + i)), tag, u + i);
  for (; i < n; ++i) u[i] = std::log(u[i]);
}

/// p[i] = min(1, e^{log_proposal[i] + shift}); 0 where the proposal is -inf, whatever the shift.
template <class Real>
void exp_shifted(const Real* log_proposal, std::size_t n, Real shift, Real* p) {
  const Tag<Real> tag;
  const auto zero = hn::Zero(tag), least = hn::Set(tag, -kInfinity<Real>);
  const auto one = [&](Vec<Real> x) HWY_ATTR {
    return hn::IfThenZeroElse(hn::Eq(x, least), exp_nonpositive(hn::Min(hn::Add(x, hn::Set(tag, shift)), zero)));
  };
  std::size_t i = 0;
  for (; i + kLanes<Real> <= n; i += kLanes<Real>) hn::StoreU(one(hn::LoadU(tag, log_proposal + i)), tag, p + i);
  for (; i < n; ++i) p[i] = hn::GetLane(one(hn::Set(tag, log_proposal[i])));
}

/// sum of e^{x[i] - least} over the x[i] < least, in double; and how many are equal to it.
template <class Real>
struct Below {
  double sum = 0;
  std::size_t ties = 0;
};

template <class Real>
Below<Real> sum_below(const Real* x, std::size_t n, Real least) {
  const Tag<Real> tag;
  const auto bound = hn::Set(tag, least);
  Below<Real> result;
  std::size_t i = 0;
  while (i + kLanes<Real> <= n) {
    auto part = hn::Zero(tag);  // short sums in Real, long ones in double
    for (std::size_t j = 0; j < 64 && i + kLanes<Real> <= n; ++j, i += kLanes<Real>) {
      const auto v = hn::LoadU(tag, x + i);
      const auto size = exp_nonpositive(hn::Min(hn::Sub(v, bound), hn::Zero(tag)));
      part = hn::Add(part, hn::IfThenElseZero(hn::Lt(v, bound), size));
      result.ties += hn::CountTrue(tag, hn::Eq(v, bound));
    }
    result.sum += static_cast<double>(hn::GetLane(hn::SumOfLanes(tag, part)));
  }
  for (; i < n; ++i) {
    if (x[i] < least) result.sum += std::exp(static_cast<double>(x[i]) - static_cast<double>(least));
    result.ties += x[i] == least ? 1u : 0u;
  }
  return result;
}

/// ln c of the inclusion probabilities p_i = min(1, c e^{log_proposal[i]}) that add up to the budget.
/// +inf when no more positions than that have a probability at all.
template <class Real>
Real log_inclusion(const Tail<Real>& tail, Workspace& ws) {
  // Only the `budget` largest can be certain to be chosen (p = 1). Everything is relative to the least of
  // these, so that what is not certain neither overflows nor vanishes beside what is.
  const Largest<Real> top = largest(tail.log_proposal, tail.n, tail.budget, ws);
  if (top.least == -kInfinity<Real>) return kInfinity<Real>;
  double* sizes = ws.get<double>(Workspace::kSurvivors, tail.budget);
  const Below<Real> below = sum_below(tail.log_proposal, tail.n, top.least);
  double rest = below.sum + static_cast<double>(below.ties);
  for (std::size_t j = 0; j < top.count; ++j) {
    const Real x = tail.log_proposal[top.ranks[j]];
    if (x == top.least) rest -= 1;  // a tie that is among the largest
    sizes[j] = x == top.least ? 1.0 : std::exp(static_cast<double>(x) - static_cast<double>(top.least));
  }
  std::sort(sizes, sizes + top.count, Descending{});
  // From the smallest up: the first that is certain ends the search.
  std::size_t certain = top.count;
  while (certain > 0 &&
         sizes[certain - 1] * static_cast<double>(tail.budget - (certain - 1)) < rest + sizes[certain - 1]) {
    rest += sizes[--certain];
  }
  if (certain == tail.budget) return -top.least;  // all the room is taken by those that are certain
  return static_cast<Real>(std::log(static_cast<double>(tail.budget - certain) / rest)) - top.least;
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_PROPORTIONAL_INL_H_
