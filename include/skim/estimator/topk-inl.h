// SPDX-License-Identifier: Apache-2.0
#if defined(SKIM_ESTIMATOR_TOPK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_TOPK_INL_H_
#undef SKIM_ESTIMATOR_TOPK_INL_H_
#else
#define SKIM_ESTIMATOR_TOPK_INL_H_
#endif

#include "skim/estimator/select-inl.h"
#include "skim/estimator/topk.h"
#include "skim/index/allowed-inl.h"
#include "skim/index/candidates-inl.h"
#include "skim/index/ranked-inl.h"
#include "skim/kernel/pool-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

template <>
struct Select<TopK> {
  template <class Real, class Kv>
  static void run(const TopK& e, const BasicQuery<Real>& q, const Kv& kv, Selection& selection, Workspace& ws) {
    const std::size_t k = e.budget.count(q.visible.size());
    if (k == 0 || count_gaps(selection, q.visible) == 0) return;
    if (add_all_allowed(e.by, k, q, kv, selection, ws)) return;
    const Budget& candidates = e.candidates;
    if (e.by != Source::kKeys && !e.exact && candidates == Budget(0)) {
      for (const Position at : ranked_first(e.by, k, q, kv, selection, ws)) selection.add(at);
      return;
    }
    // Where to look, if somebody knows; else all logits decide, and if an earlier stage has them, they do anyway.
    std::span<const Position> shortlist = ws.asked.candidates;
    if (e.exact && e.by != Source::kKeys && known_logits(q, kv, ws).data == nullptr) {
      shortlist = possible_largest(e.by, k, q, kv, selection, ws);
    } else if (!e.exact && e.by != Source::kKeys) {
      shortlist = ranked_first(e.by, std::max(k, candidates.count(q.visible.size())), q, kv, selection, ws);
    }
    const bool shortlisted = !shortlist.empty();
    const Pooled<Real> x = shortlisted ? pool_max_of(shortlist, q, plain(kv), selection, ws)
                                       : pool_max(logits(q, kv, ws), q.heads(), selection, q.visible, ws);
    const Largest<Real> top = largest(x.scores, x.count, std::min(k, x.count), ws);
    if (shortlisted) {
      for (std::size_t j = 0; j < top.count; ++j) selection.add(x.positions[top.ranks[j]]);
    } else {
      add_ranks(selection, q.visible, top.ranks, top.count, [](std::size_t) { return 0.0; });
    }
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_TOPK_INL_H_
