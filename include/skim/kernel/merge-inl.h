// SPDX-License-Identifier: Apache-2.0
// Attention over two disjoint sets of positions becomes attention over their union.
#if defined(SKIM_KERNEL_MERGE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_MERGE_INL_H_
#undef SKIM_KERNEL_MERGE_INL_H_
#else
#define SKIM_KERNEL_MERGE_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <limits>

#include "skim/core/state.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Merges one row: (out, lse) becomes the state of the union of its positions with those of
/// (other_out, other_lse). Commutative bit for bit: the larger lse comes first whatever the order of the
/// arguments, and the fused multiply-adds are written out, since a compiler that chooses which product
/// to fuse breaks the symmetry.
template <class Real>
void merge_row(Real* out, Real& lse, const Real* other_out, Real other_lse, std::size_t cols) {
  constexpr Real kEmpty = -kInfinity<Real>;
  // The neutral element returns the other side unchanged: arithmetic would turn -0 into +0.
  if (other_lse == kEmpty) return;
  if (lse == kEmpty) {
    for (std::size_t c = 0; c < cols; ++c) out[c] = other_out[c];
    lse = other_lse;
    return;
  }
  const bool swap = other_lse > lse;
  const Real large = swap ? other_lse : lse;
  const Real small = swap ? lse : other_lse;
  const Real share = std::exp(small - large);  // two infinite ones give NaN, as several +inf logits do
  const Real total = Real{1} + share;
  const Real* large_out = swap ? other_out : out;
  const Real* small_out = swap ? out : other_out;
  constexpr Real kMost = std::numeric_limits<Real>::max();
  for (std::size_t c = 0; c < cols; ++c) {
    const Real a = large_out[c], b = small_out[c], sum = std::fma(share, b, a);
    out[c] = sum / total;
    // A sum may leave the range that the mean of the two cannot.
    if (!(std::abs(sum) <= kMost) && std::abs(a) <= kMost && std::abs(b) <= kMost) {
      const Real half = std::fma(share / total / 2, b, a / total / 2);
      out[c] = std::min(std::max(2 * half, -kMost), kMost);
    }
  }
  lse = large + std::log1p(share);
}

/// Merges `other` into `state`, all heads. Both [g, d_v]. In place: `other` is unchanged.
template <class Real>
void merge_into(const BasicStateView<Real>& state, const BasicStateView<Real>& other) {
  for (std::size_t h = 0; h < state.out.rows; ++h) {
    merge_row(state.out.row(h), state.lse_of(h), other.out.row(h), other.lse_of(h), state.out.cols);
  }
}

/// Adds a learned sink logit to the denominator: merge with (out 0, lse = sink).
template <class Real>
void merge_sink(Real* out, Real& lse, Real sink, std::size_t cols) {
  if (sink == -kInfinity<Real>) return;
  if (lse == -kInfinity<Real>) {
    lse = sink;  // out is 0 already
    if (std::isnan(sink)) std::fill_n(out, cols, sink);
    return;
  }
  const Real large = sink > lse ? sink : lse;
  // The larger one counts 1, an infinite one too; of two infinite ones there is no share: NaN.
  const Real share = lse > sink ? Real{1} : std::exp(lse - large);
  const Real total = share + (sink > lse ? Real{1} : std::exp(sink - large));
  for (std::size_t c = 0; c < cols; ++c) out[c] *= share / total;
  lse = large + std::log(total);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_MERGE_INL_H_
