// SPDX-License-Identifier: Apache-2.0
// The stages that read no keys: dense, sinks and window.
#if defined(SKIM_ESTIMATOR_SPANS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ESTIMATOR_SPANS_INL_H_
#undef SKIM_ESTIMATOR_SPANS_INL_H_
#else
#define SKIM_ESTIMATOR_SPANS_INL_H_
#endif

#include "skim/estimator/dense.h"
#include "skim/estimator/select-inl.h"
#include "skim/estimator/sinks.h"
#include "skim/estimator/window.h"
#include "skim/kernel/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Selects what is left of `wanted`, with weight 1.
template <class Real>
void select_span(Span wanted, const BasicQuery<Real>& q, Selection& selection) {
  add_gaps(selection, intersect(wanted, q.visible));
}

template <>
struct Select<Dense> {
  template <class Real, class Kv>
  static void run(const Dense&, const BasicQuery<Real>& q, const Kv&, Selection& selection, Workspace&) {
    select_span(q.visible, q, selection);
  }
};

template <>
struct Select<Sinks> {
  template <class Real, class Kv>
  static void run(const Sinks& e, const BasicQuery<Real>& q, const Kv&, Selection& selection, Workspace&) {
    select_span({0, e.count}, q, selection);
  }
};

template <>
struct Select<Window> {
  template <class Real, class Kv>
  static void run(const Window& e, const BasicQuery<Real>& q, const Kv&, Selection& selection, Workspace&) {
    select_span({q.visible.last - std::min(e.width, q.visible.last), q.visible.last}, q, selection);
  }
};

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ESTIMATOR_SPANS_INL_H_
