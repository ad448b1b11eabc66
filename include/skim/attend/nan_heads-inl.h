// SPDX-License-Identifier: Apache-2.0
// Query heads whose row holds a NaN: they have no say in what their group selects, and NaN comes out of them.
#if defined(SKIM_ATTEND_NAN_HEADS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ATTEND_NAN_HEADS_INL_H_
#undef SKIM_ATTEND_NAN_HEADS_INL_H_
#else
#define SKIM_ATTEND_NAN_HEADS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "skim/core/query.h"
#include "skim/core/selection.h"
#include "skim/core/state.h"
#include "skim/core/workspace.h"
#include "skim/kernel/score-inl.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

template <class Real>
bool has_nan(const Real* x, std::size_t n) {
  const Tag<Real> tag;
  std::size_t i = 0;
  auto equal = hn::Eq(hn::Zero(tag), hn::Zero(tag));
  for (; i + kLanes<Real> <= n; i += kLanes<Real>) {
    const auto v = hn::LoadU(tag, x + i);
    equal = hn::And(equal, hn::Eq(v, v));
  }
  bool none = hn::AllTrue(tag, equal);
  for (; i < n; ++i) none = none && x[i] == x[i];
  return !none;
}

/// The heads by which a group selects when not all of them do: those without a NaN if there are others. Copied, so that
/// every estimator does what it does without the others.
template <class Real>
std::optional<BasicQuery<Real>> heads_that_select(const BasicQuery<Real>& q, Workspace& ws) {
  const std::size_t heads = q.heads(), d = q.rows.cols;
  if (heads == 1) return {};
  std::size_t left = 0;
  for (std::size_t h = 0; h < heads; ++h) left += has_nan(q.rows.row(h), d) ? 0u : 1u;
  if (left == heads || left == 0) return {};
  Real* rows = ws.get<Real>(Workspace::kSelectingHeads, left * (d + 1));
  auto* slopes = reinterpret_cast<float*>(rows + left * d);
  std::size_t to = 0;
  for (std::size_t h = 0; h < heads; ++h) {
    if (has_nan(q.rows.row(h), d)) continue;
    std::memcpy(rows + to * d, q.rows.row(h), d * sizeof(Real));
    slopes[to++] = q.logit.alibi_slopes ? q.logit.alibi_slopes[h] : 0.0f;
  }
  BasicQuery<Real> some = q;
  some.rows = {rows, left, d};
  some.sink_logits = nullptr;
  if (q.logit.alibi_slopes) some.logit.alibi_slopes = slopes;
  return some;
}

/// Where a stage has looked at all logits and found none above -inf, but some that are NaN, the first of these is selected:
/// it is the answer, and an empty selection would be another.
template <class Real, class Kv>
void select_nan_if_alone(const BasicQuery<Real>& q, const Kv& kv, Selection& selection, const Workspace& ws) {
  const Logits<Real> s = known_logits(q, kv, ws);
  if (s.data == nullptr || !ws.asked.looked || selection.spans().size() + selection.picks().size() != 0) return;
  Position first = q.visible.last;
  for (std::size_t h = 0; h < q.heads(); ++h) {
    const Real* of_head = s.of_head(h) - s.first;
    for (Position i = q.visible.first; i < q.visible.last; ++i) {
      if (of_head[i] > -kInfinity<Real>) return;
      if (std::isnan(of_head[i])) first = std::min(first, i);
    }
  }
  if (first < q.visible.last) selection.add(first);
}

/// Gives the NaN of a row of q to a head that has selected nothing; of what is selected the kernel has made NaN.
template <class Real>
void write_nan_heads(const BasicQuery<Real>& q, const BasicStateView<Real>& state) {
  for (std::size_t h = 0; h < q.heads(); ++h) {
    if (state.lse_of(h) != -kInfinity<Real> || q.visible.size() == 0 || !has_nan(q.rows.row(h), q.rows.cols)) continue;
    std::fill_n(state.out.row(h), state.out.cols, std::numeric_limits<Real>::quiet_NaN());
    state.lse_of(h) = std::numeric_limits<Real>::quiet_NaN();
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ATTEND_NAN_HEADS_INL_H_
