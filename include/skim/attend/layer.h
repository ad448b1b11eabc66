// SPDX-License-Identifier: Apache-2.0
// A whole attention layer: all heads, rows and sequences of a batch.
#ifndef SKIM_ATTEND_LAYER_H_
#define SKIM_ATTEND_LAYER_H_

#include <cstddef>
#include <cstdint>

#include "skim/core/query.h"
#include "skim/core/rows.h"
#include "skim/core/view.h"

namespace skim::inline SKIM_ABI {

/// [rows, heads, cols] values of the caller's memory, inner stride 1.
template <class T>
struct HeadRows {
  T* data = nullptr;
  std::size_t rows = 0;
  std::size_t heads = 0;
  std::size_t cols = 0;
  std::ptrdiff_t row_stride = static_cast<std::ptrdiff_t>(heads * cols);
  std::ptrdiff_t head_stride = static_cast<std::ptrdiff_t>(cols);

  /// Heads [first, first + count) of row r, as rows.
  constexpr Rows<T> group(std::size_t r, std::size_t first, std::size_t count) const {
    return {data + static_cast<std::ptrdiff_t>(r) * row_stride + static_cast<std::ptrdiff_t>(first) * head_stride,
            count, cols, head_stride};
  }

  /// Head h of all rows, as rows: what a KV view takes of [n, kv_heads, d].
  constexpr Rows<T> head(std::size_t h) const {
    return {data + static_cast<std::ptrdiff_t>(h) * head_stride, rows, cols, row_stride};
  }
};

/// The query rows of a batch of sequences, one after the other. Row r of the m rows of a sequence whose KV
/// heads hold n positions is at position n - m + r (or first_position + r), and sees what is not behind it when causal: m
/// is then at most n, or n is 0 and every row sees nothing.
template <class Real>
struct BasicLayerQuery {
  HeadRows<const Real> rows{};               ///< [rows, q_heads, d]
  View<const std::size_t> row_begin{};       ///< [sequences + 1], first row of each; empty: equally many each
  bool causal = true;
  LogitRule logit{};                         ///< ALiBi slopes: [q_heads]
  View<const Span> visible{};                ///< [rows], the positions that exist for a row; empty: all
  const float* sink_logits = nullptr;        ///< [q_heads], or none
  Grouping grouping = Grouping::kPerGroup;
  Stream stream{};                           ///< seed and layer
  View<const std::uint64_t> sequence_ids{};  ///< streams of the sequences; empty: their index in the batch

  // For who splits a layer between calls, by heads or by rows: random draws and distances are then those of the whole.
  std::size_t first_head = 0;                ///< which query head of the layer rows.heads begin with
  View<const Position> first_position{};     ///< [sequences], positions of their first rows; empty: n - m
};

using LayerQuery = BasicLayerQuery<float>;

/// The KV heads of a batch: heads[s * kv_heads + h] is KV head h of sequence s. Lengths may differ.
template <class Kv>
struct LayerKv {
  View<const Kv> heads{};
  std::size_t kv_heads = 0;

  std::size_t sequences() const { return kv_heads == 0 ? 0 : heads.size() / kv_heads; }
};

/// Where the result goes: memory of its own. Every row is written, also of an empty set.
template <class Real>
struct BasicLayerState {
  HeadRows<Real> out{};    ///< [rows, q_heads, d_v]
  Real* lse = nullptr;     ///< [rows, q_heads], or null when not wanted

  Real* lse_of(std::size_t row, std::size_t head) const {
    return lse == nullptr ? nullptr : lse + row * out.heads + head;
  }
};

using LayerState = BasicLayerState<float>;

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ATTEND_LAYER_H_
