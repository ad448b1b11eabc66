// SPDX-License-Identifier: Apache-2.0
// How an estimator's loops are found: `Select<E>`, specialised for the library's own.
#if defined(SKIM_ESTIMATOR_SELECT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_SELECT_INL_H_
#undef SKIM_ESTIMATOR_SELECT_INL_H_
#else
#define SKIM_ESTIMATOR_SELECT_INL_H_
#endif

#include "skim/core/query.h"
#include "skim/core/selection.h"
#include "skim/core/workspace.h"
#include "skim/estimator/estimator.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// A user's estimator brings its own `select`.
template <class E>
struct Select {
  template <class Real, class Kv>
  static void run(const E& e, const BasicQuery<Real>& q, const Kv& kv, Selection& selection, Workspace& ws) {
    static_assert(SelectsFrom<E, Kv, Real>,
                  "skim: an estimator needs validate(), max_picks(n) and select(query, kv, selection, workspace)");
    e.select(q, kv, selection, ws);
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_SELECT_INL_H_
