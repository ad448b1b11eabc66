// SPDX-License-Identifier: Apache-2.0
// At what angle keys that were met lie to a query.
#if defined(SKIM_INDEX_ANGLES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_ANGLES_INL_H_
#undef SKIM_INDEX_ANGLES_INL_H_
#else
#define SKIM_INDEX_ANGLES_INL_H_
#endif

#include <algorithm>

#include "skim/index/collisions-inl.h"
#include "skim/index/lsh.h"
#include "skim/kernel/score-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Dot products with the query, and squares, of T keys less their centre; query and centre in the lane order of the
/// keys. Rows `ahead` are prefetched.
template <int T, class K>
HWY_INLINE void angle_tile(const float* HWY_RESTRICT query, const float* HWY_RESTRICT centre, const K* const* keys,
                           const K* const* ahead, std::size_t d, float* HWY_RESTRICT products,
                           float* HWY_RESTRICT squares) {
  static_assert(T == 4);
  constexpr std::size_t kN = kLanes<float>;
  const Tag<float> tag;
  Vec<float> dot[T], square[T];
  HWY_UNROLL(4) for (int t = 0; t < T; ++t) dot[t] = square[t] = hn::Zero(tag);
  const auto add = [&](int t, Vec<float> a, Vec<float> b, std::size_t c) HWY_ATTR {
    if constexpr (kHasScale<K>) {
      const auto scale = hn::Set(tag, scale_of(keys[t], d));
      a = hn::Mul(a, scale);
      b = hn::Mul(b, scale);
    }
    a = hn::Sub(a, hn::LoadU(tag, centre + c));
    b = hn::Sub(b, hn::LoadU(tag, centre + c + kN));
    dot[t] = hn::MulAdd(b, hn::LoadU(tag, query + c + kN), hn::MulAdd(a, hn::LoadU(tag, query + c), dot[t]));
    square[t] = hn::MulAdd(b, b, hn::MulAdd(a, a, square[t]));
  };
  std::size_t c = 0;
  for (; c + kStep<float> <= d; c += kStep<float>) {
    HWY_UNROLL(4) for (int t = 0; t < T; ++t) prefetch_step<float>(ahead[t] + c);
    HWY_UNROLL(4) for (int t = 0; t < T; ++t) {
      Vec<float> a, b;
      Storage<K, float>::load(keys[t] + c, a, b);
      add(t, a, b, c);
    }
  }
  if (c < d) {
    HWY_UNROLL(4) for (int t = 0; t < T; ++t) {
      Vec<float> a, b;
      load_tail<float>(keys[t] + c, d - c, a, b);
      add(t, a, b, c);
    }
  }
  sum_lanes4<float>(dot[0], dot[1], dot[2], dot[3], products);
  sum_lanes4<float>(square[0], square[1], square[2], square[3], squares);
}

/// <query, key - centre> and |key - centre|^2 of hashed positions, with their own centres: the same differences that
/// were hashed. query: [d]. products, squares: [count + 3].
template <class Kv>
void angles(const LshTables& tables, const Kv& kv, const float* query, const Met& met, float* products, float* squares,
            Workspace& ws) {
  using K = typename Kv::Key;
  constexpr std::size_t kTileKeys = 4, kAhead = 16;
  const std::size_t d = tables.key_dim(), padded = round_up(d, kStep<float>);
  float* lanes = ws.get<float>(Workspace::kQuery, 2 * padded + d);
  float* centre = lanes + padded;
  float* room = centre + padded;
  to_lanes<K>(query, d, lanes);
  const auto segment_of = [&](std::size_t i) { return static_cast<std::size_t>(met.positions[i]) / tables.segment(); };
  const auto key_at = [&](std::size_t i) { return kv.key(met.positions[std::min(i, met.count - 1)]); };
  std::size_t segment = static_cast<std::size_t>(-1);
  for (std::size_t i = 0; i < met.count;) {
    if (segment_of(i) != segment) {
      segment = segment_of(i);
      const BF16* stored = LshAccess::centres(tables).data() + segment * d;
      for (std::size_t c = 0; c < d; ++c) room[c] = to_float(stored[c]);
      to_lanes<K>(room, d, centre);
    }
    std::size_t count = 1;
    while (count < kTileKeys && i + count < met.count && segment_of(i + count) == segment) ++count;
    const K* keys[kTileKeys];
    const K* ahead[kTileKeys];
    for (std::size_t t = 0; t < kTileKeys; ++t) {
      keys[t] = key_at(i + std::min(t, count - 1));
      ahead[t] = key_at(i + t + kAhead);
    }
    angle_tile<kTileKeys>(lanes, centre, keys, ahead, d, products + i, squares + i);
    i += count;
  }
  ws.reads.keys += met.count;
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_ANGLES_INL_H_
