// SPDX-License-Identifier: Apache-2.0
// Stages that may take everything: all that is left, but for what the caller's scores rule out.
#if defined(SKIM_INDEX_ALLOWED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_ALLOWED_INL_H_
#undef SKIM_INDEX_ALLOWED_INL_H_
#else
#define SKIM_INDEX_ALLOWED_INL_H_
#endif

#include "skim/index/scores-inl.h"
#include "skim/kernel/gaps-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Selects all that a stage by `by` may select, with weight 1, if that is no more than `count` positions; else nothing.
/// Returns whether it did. External scores of -infinity rule positions out, other sources none.
template <class Real, class Kv>
bool add_all_allowed(Source by, std::size_t count, const BasicQuery<Real>& q, const Kv& kv, Selection& selection,
                     Workspace& ws) {
  if (by != Source::kExternal) {
    if (count < static_cast<std::size_t>(count_gaps(selection, q.visible))) return false;
    add_gaps(selection, q.visible);
    return true;
  }
  const Logits<Real> s = scores(by, q, kv, ws).of;
  const auto allowed = [&s](Position i) { return s.data[i - s.first] > -kInfinity<Real>; };
  std::size_t left = 0;
  for_each_gap(selection, q.visible, [&](Span gap) {
    for (Position i = gap.first; i < gap.last; ++i) left += allowed(i) ? 1u : 0u;
  });
  if (count < left) return false;
  add_gaps(selection, q.visible, allowed);
  return true;
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_ALLOWED_INL_H_
