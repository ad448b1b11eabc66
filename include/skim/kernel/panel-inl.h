// SPDX-License-Identifier: Apache-2.0
// Products of many query rows with many keys or values: what the kernels for many rows are made of.
//
// Queries lie across the lanes. A panel of query rows is transposed once; keys and values are then broadcast, a
// value at a time, against whole panels. So they need no packing, and what one query gets does not depend on its
// neighbours.
#if defined(SKIM_KERNEL_PANEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_PANEL_INL_H_
#undef SKIM_KERNEL_PANEL_INL_H_
#else
#define SKIM_KERNEL_PANEL_INL_H_
#endif

#include <cmath>

#include "skim/kernel/round-inl.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Query rows in a panel: two vectors.
template <class Real>
constexpr std::size_t kPanel = 2 * kLanes<Real>;

/// Keys that are widened at once: a block of the kernels that work on panels, aligned to absolute positions.
constexpr std::size_t kPanelKeys = 128;

/// Rows of the register tile: 24 accumulators where there are 32 registers, else 12.
constexpr int kTileRows = 6 * kTile;

/// store(r, low, high) for R rows of C, C[r, panel] = sum_k A[r, k] B[k, panel]. A steps by `row` and `step`.
template <int R, class Real, class Store>
HWY_INLINE void panel_tile(const Real* HWY_RESTRICT a, std::size_t row, std::size_t step, const Real* HWY_RESTRICT b,
                           std::size_t depth, const Store& store) {
  const Tag<Real> tag;
  Vec<Real> low[R], high[R];
  HWY_UNROLL(12) for (int r = 0; r < R; ++r) low[r] = high[r] = hn::Zero(tag);
  for (std::size_t k = 0; k < depth; ++k) {
    const auto b0 = hn::Load(tag, b + k * kPanel<Real>);
    const auto b1 = hn::Load(tag, b + k * kPanel<Real> + kLanes<Real>);
    HWY_UNROLL(12) for (int r = 0; r < R; ++r) {
      const auto x = hn::Set(tag, a[static_cast<std::size_t>(r) * row + k * step]);
      low[r] = hn::MulAdd(x, b0, low[r]);
      high[r] = hn::MulAdd(x, b1, high[r]);
    }
  }
  HWY_UNROLL(12) for (int r = 0; r < R; ++r) store(static_cast<std::size_t>(r), low[r], high[r]);
}

/// The same for any number of rows.
template <class Real, class Store>
HWY_INLINE void panel_product(const Real* a, std::size_t rows, std::size_t row, std::size_t step, const Real* b,
                              std::size_t depth, const Store& store) {
  std::size_t r = 0;
  const auto from = [&store](std::size_t first) {
    return [&store, first](std::size_t i, Vec<Real> low, Vec<Real> high) HWY_ATTR { store(first + i, low, high); };
  };
  for (; r + kTileRows <= rows; r += kTileRows) panel_tile<kTileRows>(a + r * row, row, step, b, depth, from(r));
  for (; r + 2 * kTile <= rows; r += 2 * kTile) panel_tile<2 * kTile>(a + r * row, row, step, b, depth, from(r));
  for (; r < rows; ++r) panel_tile<1>(a + r * row, row, step, b, depth, from(r));
}

/// Writes a query row into lane i of a panel, [d, kPanel]; zeros when there is none. For keys that are quantised it
/// becomes what it counts as against them (round_row).
template <class Real, class K = Real>
void to_panel(const Real* row, std::size_t d, std::size_t i, Real* panel) {
  if constexpr (kHasScale<K>) {
    const float step = row == nullptr ? 0.0f : step_of(row, d);
    for (std::size_t c = 0; c < d; ++c) {
      panel[c * kPanel<Real> + i] = step == 0 ? 0.0f : step * std::nearbyint(row[c] / step);
    }
  } else {
    for (std::size_t c = 0; c < d; ++c) panel[c * kPanel<Real> + i] = row == nullptr ? Real{0} : row[c];
  }
}

/// A row of keys or values as Real. Returns whether every value is finite.
template <class T, class Real>
bool widen_row(const T* from, std::size_t cols, Real* to) {
  const Tag<Real> tag;
  const auto times_scale = [&](Vec<Real>& a, Vec<Real>& b) HWY_ATTR {
    if constexpr (kHasScale<T>) {
      const auto scale = hn::Set(tag, scale_of(from, cols));
      a = hn::Mul(a, scale);
      b = hn::Mul(b, scale);
    }
  };
  auto zeros = hn::Zero(tag);  // x - x is 0 for a finite x, NaN otherwise
  std::size_t c = 0;
  for (; c + kStep<Real> <= cols; c += kStep<Real>) {
    Vec<Real> a, b;
    Storage<T, Real>::load(from + c, a, b);
    times_scale(a, b);
    zeros = hn::Add(zeros, hn::Add(hn::Sub(a, a), hn::Sub(b, b)));
    Storage<T, Real>::join(a, b, to + c);
  }
  if (c < cols) {
    Vec<Real> a, b;
    load_tail<Real>(from + c, cols - c, a, b);
    times_scale(a, b);
    zeros = hn::Add(zeros, hn::Add(hn::Sub(a, a), hn::Sub(b, b)));
    Real padded[kStep<Real>];
    Storage<T, Real>::join(a, b, padded);
    std::memcpy(to + c, padded, (cols - c) * sizeof(Real));
  }
  return hn::AllTrue(tag, hn::Eq(zeros, hn::Zero(tag)));
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_PANEL_INL_H_
