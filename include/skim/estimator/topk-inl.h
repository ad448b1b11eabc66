// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_TOPK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_TOPK_INL_H_
#undef SKIM_ESTIMATOR_TOPK_INL_H_
#else
#define SKIM_ESTIMATOR_TOPK_INL_H_
#endif

#include "skim/estimator/select-inl.h"
#include "skim/estimator/topk.h"
#include "skim/index/candidates-inl.h"
#include "skim/index/scores-inl.h"
#include "skim/kernel/pool-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

template <>
struct Select<TopK> {
  template <class Real, class Kv>
  static void run(const TopK& e, const BasicQuery<Real>& q, const Kv& kv, Selection& selection, Workspace& ws) {
    const std::size_t k = e.budget.count(q.visible.size());
    const auto left = static_cast<std::size_t>(count_gaps(selection, q.visible));
    if (k == 0 || left == 0) return;
    if (k >= left) return add_gaps(selection, q.visible);
    const std::span<const Position> shortlist = shortlist_of(e, k, q, kv, selection, ws);
    const bool shortlisted = !shortlist.empty();  // somebody knows where to look
    const Source by = e.exact ? Source::kKeys : e.by;
    const Pooled<Real> x = shortlisted ? pool_max_of(shortlist, q, kv, selection, ws)
                                       : pool_max(scores(by, q, kv, ws), selection, q.visible, ws);
    const Largest<Real> top = largest(x.scores, x.count, std::min(k, x.count), ws);
    if (shortlisted) {
      for (std::size_t j = 0; j < top.count; ++j) selection.add(x.positions[top.ranks[j]]);
    } else {
      add_ranks(selection, q.visible, top.ranks, top.count, [](std::size_t) { return 0.0; });
    }
  }

 private:
  /// Positions, ascending, whose keys decide; empty when all of them do, or none.
  template <class Real, class Kv>
  static std::span<const Position> shortlist_of(const TopK& e, std::size_t k, const BasicQuery<Real>& q, const Kv& kv,
                                                Selection& selection, Workspace& ws) {
    if (e.by == Source::kKeys) return ws.candidates;
    if (e.exact) return possible_largest(e.by, k, q, kv, selection, ws);
    if (e.candidates == Budget(0)) return {};
    return ranked_first(e.by, std::max(k, e.candidates.count(q.visible.size())), q, kv, selection, ws);
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_TOPK_INL_H_
