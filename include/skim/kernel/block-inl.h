// SPDX-License-Identifier: Apache-2.0
// Sixteen keys at a time: how a run of positions or a list of picks becomes row pointers, so that
// contiguous, paged, dense and sparse reading share one kernel.
#if defined(SKIM_KERNEL_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_BLOCK_INL_H_
#undef SKIM_KERNEL_BLOCK_INL_H_
#else
#define SKIM_KERNEL_BLOCK_INL_H_
#endif

#include <algorithm>

#include "skim/core/kv.h"
#include "skim/core/position.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Keys a kernel handles at once: the block of the online softmax. A larger one is slower, because
/// every switch from keys to values restarts the hardware prefetcher.
constexpr std::size_t kBlock = 16;

/// Up to kBlock positions and their rows. Pointers from `count` on repeat the last row, so that a
/// kernel may always process whole tiles; what it computes for them is never used.
template <class Kv>
struct Block {
  std::size_t count = 0;
  Position positions[kBlock];
  const typename Kv::Key* keys[kBlock];
  const typename Kv::Value* values[kBlock];
  double log_weights[kBlock];  // of picks; a run has none

  void pad() {
    for (std::size_t t = count; t < kBlock; ++t) {
      positions[t] = positions[count - 1];
      keys[t] = keys[count - 1];
      values[t] = values[count - 1];
    }
  }
};

/// Fills a block with the positions [first, first + count), 1 <= count <= kBlock.
template <class Kv>
HWY_INLINE void fill_run(const Kv& kv, Position first, std::size_t count, Block<Kv>& block) {
  block.count = count;
  for (std::size_t t = 0; t < count; ++t) {
    block.positions[t] = first + static_cast<Position>(t);
    block.keys[t] = kv.key(first + static_cast<Position>(t));
    block.values[t] = kv.value(first + static_cast<Position>(t));
  }
  block.pad();
}

/// Pages: one division for the run instead of one for each row.
template <class K, class V>
HWY_INLINE void fill_run(const PagedKv<K, V>& kv, Position first, std::size_t count,
                         Block<PagedKv<K, V>>& block) {
  block.count = count;
  auto page = static_cast<std::size_t>(first) / kv.page_size;
  auto row = static_cast<std::size_t>(first) % kv.page_size;
  for (std::size_t t = 0; t < count; ++t) {
    block.positions[t] = first + static_cast<Position>(t);
    block.keys[t] = kv.keys.row(kv.table[page], static_cast<std::ptrdiff_t>(row));
    block.values[t] = kv.values.row(kv.table[page], static_cast<std::ptrdiff_t>(row));
    if (++row == kv.page_size) {
      row = 0;
      ++page;
    }
  }
  block.pad();
}

/// Where row i of `kv` is, for ALiBi: at position i, unless its rows stand for other positions (PlacedMeans).
template <class Kv>
HWY_INLINE Position place_of(const Kv& kv, Position i) {
  if constexpr (requires { kv.place(i); }) {
    return kv.place(i);
  } else {
    return i;
  }
}

/// Fills a block with any positions: position(t) is the t-th of 1 <= count <= kBlock.
template <class Kv, class PositionAt>
HWY_INLINE void fill_list(const Kv& kv, const PositionAt& position, std::size_t count, Block<Kv>& block) {
  block.count = count;
  for (std::size_t t = 0; t < count; ++t) {
    const Position at = position(t);
    block.positions[t] = place_of(kv, at);
    block.keys[t] = kv.key(at);
    block.values[t] = kv.value(at);
  }
  block.pad();
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_BLOCK_INL_H_
