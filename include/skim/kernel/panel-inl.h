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

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "skim/kernel/block-inl.h"
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

/// store(r, low, high) for R rows of C, C[r, panel] = sum_k A[r, k] B[k, panel]. A steps by `row` and `step`, B by `next`:
/// a multiple of the lanes of a vector, that of a panel if it is one.
template <int R, class Real, class Store>
HWY_INLINE void panel_tile(const Real* HWY_RESTRICT a, std::size_t row, std::size_t step, const Real* HWY_RESTRICT b,
                           std::size_t depth, const Store& store, std::size_t next = kPanel<Real>) {
  const Tag<Real> tag;
  Vec<Real> low[R], high[R];
  HWY_UNROLL(12) for (int r = 0; r < R; ++r) low[r] = high[r] = hn::Zero(tag);
  for (std::size_t k = 0; k < depth; ++k) {
    const auto b0 = hn::Load(tag, b + k * next);
    const auto b1 = hn::Load(tag, b + k * next + kLanes<Real>);
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
                              std::size_t depth, const Store& store, std::size_t next = kPanel<Real>) {
  std::size_t r = 0;
  const auto from = [&store](std::size_t first) {
    return [&store, first](std::size_t i, Vec<Real> low, Vec<Real> high) HWY_ATTR { store(first + i, low, high); };
  };
  for (; r + kTileRows <= rows; r += kTileRows) panel_tile<kTileRows>(a + r * row, row, step, b, depth, from(r), next);
  for (; r + 2 * kTile <= rows; r += 2 * kTile) panel_tile<2 * kTile>(a + r * row, row, step, b, depth, from(r), next);
  for (; r < rows; ++r) panel_tile<1>(a + r * row, row, step, b, depth, from(r), next);
}

/// Query rows become a panel, [d, kPanel]: row_of(i) goes into lane i, zeros where it is null. For keys that are quantised
/// a row becomes what it counts as against them (round_row).
template <class K, class Real, class RowOf>
void fill_panel(const RowOf& row_of, std::size_t d, Real* HWY_RESTRICT panel) {
  constexpr std::size_t kP = kPanel<Real>, kN = kLanes<Real>;
  const Tag<Real> tag;
  for (std::size_t i = 0; i < kP; i += 4 < kP ? 4 : kP) {
    std::size_t done = 0;
    if constexpr (kP % 4 == 0 && !kHasScale<K>) {  // four rows at a time: their values of a column are one store
      const Real* rows[4] = {row_of(i), row_of(i + 1), row_of(i + 2), row_of(i + 3)};
      if (rows[0] && rows[1] && rows[2] && rows[3]) {
        for (; done + kN <= d; done += kN) {
          HWY_ALIGN Real quads[4 * kN];
          hn::StoreInterleaved4(hn::LoadU(tag, rows[0] + done), hn::LoadU(tag, rows[1] + done),
                                hn::LoadU(tag, rows[2] + done), hn::LoadU(tag, rows[3] + done), tag, quads);
          for (std::size_t c = 0; c < kN; ++c) std::memcpy(panel + (done + c) * kP + i, quads + 4 * c, 4 * sizeof(Real));
        }
      }
    }
    for (std::size_t j = i; j < std::min(i + 4, kP); ++j) {
      const Real* row = row_of(j);
      Real step = 0;
      if constexpr (kHasScale<K>) step = row == nullptr ? 0.0f : step_of(row, d);
      for (std::size_t c = done; c < d; ++c) {
        Real x = row == nullptr ? Real{0} : row[c];
        if constexpr (kHasScale<K>) x = step == 0 ? 0.0f : step * std::nearbyint(x / step);
        panel[c * kP + j] = x;
      }
    }
  }
}

/// The reverse for the first `rows` lanes: row_of(i) becomes lane i times factor[i].
template <class Real, class RowOf>
void read_panel(const Real* HWY_RESTRICT panel, std::size_t rows, std::size_t d, const Real* factor, const RowOf& row_of) {
  constexpr std::size_t kP = kPanel<Real>, kN = kLanes<Real>;
  const Tag<Real> tag;
  for (std::size_t i = 0; i < rows; i += 4) {
    std::size_t done = 0;
    if (i + 4 <= rows) {
      for (; done + kN <= d; done += kN) {
        HWY_ALIGN Real quads[4 * kN];
        for (std::size_t c = 0; c < kN; ++c) std::memcpy(quads + 4 * c, panel + (done + c) * kP + i, 4 * sizeof(Real));
        Vec<Real> x[4];
        hn::LoadInterleaved4(tag, quads, x[0], x[1], x[2], x[3]);
        HWY_UNROLL(4) for (std::size_t j = 0; j < 4; ++j) {
          hn::StoreU(hn::Mul(x[j], hn::Set(tag, factor[i + j])), tag, row_of(i + j) + done);
        }
      }
    }
    for (std::size_t j = i; j < std::min(i + 4, rows); ++j) {
      for (std::size_t c = done; c < d; ++c) row_of(j)[c] = panel[c * kP + j] * factor[j];
    }
  }
}

/// A row of keys or values as Real.
template <class T, class Real>
void widen_row(const T* from, std::size_t cols, Real* to) {
  const Tag<Real> tag;
  const auto times_scale = [&](Vec<Real>& a, Vec<Real>& b) HWY_ATTR {
    if constexpr (kHasScale<T>) {
      const auto scale = hn::Set(tag, scale_of(from, cols));
      a = hn::Mul(a, scale);
      b = hn::Mul(b, scale);
    }
  };
  std::size_t c = 0;
  for (; c + kStep<Real> <= cols; c += kStep<Real>) {
    Vec<Real> a, b;
    Storage<T, Real>::load(from + c, a, b);
    times_scale(a, b);
    Storage<T, Real>::join(a, b, to + c);
  }
  if (c < cols) {
    Vec<Real> a, b;
    load_tail<Real>(from + c, cols - c, a, b);
    times_scale(a, b);
    Real padded[kStep<Real>];
    Storage<T, Real>::join(a, b, padded);
    std::memcpy(to + c, padded, (cols - c) * sizeof(Real));
  }
}

/// Rows of the positions `run` as Real, [run, d]: where they lie, when they are Real and lie one behind the other, else
/// copies in `room`. rows_of(block) says which rows of a Block.
template <class Real, class Kv, class RowsOf>
const Real* widen_run(const Kv& kv, Span run, std::size_t d, const RowsOf& rows_of, Real* room) {
  Block<Kv> block;
  const auto for_each_row = [&](const auto& visit) {
    for (Position at = run.first; at < run.last; at += static_cast<Position>(kBlock)) {
      fill_run(kv, at, std::min(kBlock, static_cast<std::size_t>(run.last - at)), block);
      const auto first = static_cast<std::size_t>(at - run.first);
      for (std::size_t t = 0; t < block.count; ++t) visit(rows_of(block)[t], first + t);
    }
  };
  using T = std::remove_cvref_t<decltype(rows_of(block)[0][0])>;
  if constexpr (std::is_same_v<T, Real>) {
    const Real* first = nullptr;
    bool flat = true;
    for_each_row([&](const Real* row, std::size_t i) {
      if (i == 0) first = row;
      flat = flat && row == first + i * d;
    });
    if (flat) return first;
  }
  for_each_row([&](const T* row, std::size_t i) { widen_row(row, d, room + i * d); });
  return room;
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_PANEL_INL_H_
