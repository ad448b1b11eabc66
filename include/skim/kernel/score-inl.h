// SPDX-License-Identifier: Apache-2.0
// Queries and keys become logits.
#if defined(SKIM_KERNEL_SCORE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_SCORE_INL_H_
#undef SKIM_KERNEL_SCORE_INL_H_
#else
#define SKIM_KERNEL_SCORE_INL_H_
#endif

#include <cmath>

#include "skim/core/error.h"
#include "skim/core/query.h"
#include "skim/core/workspace.h"
#include "skim/kernel/block-inl.h"
#include "skim/kernel/int8-inl.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// The rows of a resolved query in the lane order of the keys: what the dot product reads.
template <class Real>
struct LaneQuery {
  const BasicQuery<Real>* query = nullptr;
  const Real* rows = nullptr;  // [g, padded]
  std::size_t padded = 0;
  RoundedRows rounded{};  // instead of them, for quantised keys
};

/// K: the storage type of the keys. The rows live in the workspace.
template <class K, class Real>
LaneQuery<Real> lane_query(const BasicQuery<Real>& q, Workspace& ws) {
  const std::size_t padded = round_up(q.rows.cols, kStep<Real>);
  if constexpr (kHasScale<K>) {
    auto* steps = ws.get<float>(Workspace::kQuery, q.heads() * (padded / 2 + 1)) + q.heads() * (padded / 2);
    auto* rows = reinterpret_cast<std::int16_t*>(steps - q.heads() * (padded / 2));
    for (std::size_t h = 0; h < q.heads(); ++h) steps[h] = round_row(q.rows.row(h), q.rows.cols, rows + h * padded);
    return {&q, nullptr, padded, {rows, steps, padded}};
  }
  Real* rows = ws.get<Real>(Workspace::kQuery, q.heads() * padded);
  for (std::size_t h = 0; h < q.heads(); ++h) to_lanes<K>(q.rows.row(h), q.rows.cols, rows + h * padded);
  return {&q, rows, padded};
}

/// What a kernel asks for while it reads a row: nothing, or the same stretch of rows that are read soon. Those are of
/// the other stream (values while it reads keys, and the reverse) or of the same one.
enum class Prefetch { kNone, kOther, kSame };

/// AMD's Zen prefers other reading orders than the machines everything else here was measured on.
#if defined(__znver1__) || defined(__znver2__) || defined(__znver3__) || defined(__znver4__) || defined(__znver5__)
constexpr bool kZen = true;
#else
constexpr bool kZen = false;
#endif

/// Dot products of G query heads with T keys: one accumulator each. out: [G, kBlock].
/// While it runs over the keys it prefetches `ahead`, T other rows.
template <int G, int T, class K, class Real, class Ahead>
HWY_INLINE void dots_tile(const Real* HWY_RESTRICT q, std::size_t padded, const K* const* HWY_RESTRICT keys,
                          std::size_t d, const Ahead* const* ahead, Real* HWY_RESTRICT out) {
  static_assert(G * T % 4 == 0);
  const Tag<Real> tag;
  Vec<Real> sum[G][T];
  HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
    HWY_UNROLL(8) for (int t = 0; t < T; ++t) sum[h][t] = hn::Zero(tag);
  }
  std::size_t c = 0;
  for (; c + kStep<Real> <= d; c += kStep<Real>) {
    // Before the loads: across a branch clang 14 keeps f16 vectors a value at a time.
    if (ahead) {
      HWY_UNROLL(8) for (int t = 0; t < T; ++t) prefetch_step<Real>(ahead[t] + c);
    }
    Vec<Real> a[T], b[T];
    HWY_UNROLL(8) for (int t = 0; t < T; ++t) Storage<K, Real>::load(keys[t] + c, a[t], b[t]);
    HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
      const auto qa = hn::Load(tag, q + static_cast<std::size_t>(h) * padded + c);
      const auto qb = hn::Load(tag, q + static_cast<std::size_t>(h) * padded + c + kLanes<Real>);
      HWY_UNROLL(8) for (int t = 0; t < T; ++t) {
        sum[h][t] = hn::MulAdd(b[t], qb, hn::MulAdd(a[t], qa, sum[h][t]));
      }
    }
  }
  if (c < d) {
    HWY_UNROLL(8) for (int t = 0; t < T; ++t) {
      Vec<Real> a, b;
      load_tail<Real>(keys[t] + c, d - c, a, b);
      HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
        const auto qa = hn::Load(tag, q + static_cast<std::size_t>(h) * padded + c);
        const auto qb = hn::Load(tag, q + static_cast<std::size_t>(h) * padded + c + kLanes<Real>);
        sum[h][t] = hn::MulAdd(b, qb, hn::MulAdd(a, qa, sum[h][t]));
      }
    }
  }
  if constexpr (T % 4 == 0) {
    HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
      HWY_UNROLL(8) for (int t = 0; t < T; t += 4) {
        sum_lanes4<Real>(sum[h][t], sum[h][t + 1], sum[h][t + 2], sum[h][t + 3],
                   out + static_cast<std::size_t>(h) * kBlock + t);
      }
    }
  } else {
    static_assert(G % 4 == 0);
    HWY_UNROLL(8) for (int t = 0; t < T; ++t) {
      Real four[4];
      sum_lanes4<Real>(sum[0][t], sum[1][t], sum[2][t], sum[3][t], four);
      HWY_UNROLL(4) for (int h = 0; h < G; ++h) out[static_cast<std::size_t>(h) * kBlock + static_cast<std::size_t>(t)] = four[h];
    }
  }
}

/// Runs one tile over the block. `ahead` may be null.
template <int G, int T, class K, class Real, class Ahead>
HWY_INLINE void dots_tiles(const Real* q, std::size_t padded, const K* const* keys, std::size_t count,
                           std::size_t d, const Ahead* const* ahead, Real* out) {
  for (std::size_t t = 0; t < count; t += T) {
    dots_tile<G, T>(q, padded, keys + t, d, ahead ? ahead + t : nullptr, out + t);
  }
}

/// Dot products of all heads with the keys of a block. out: [g, kBlock]; entries from `count` on are
/// undefined. The group is composed of 4, 2 and 1 heads; a key is loaded from memory for the first.
template <class K, class Real, class Ahead>
HWY_INLINE void dots(const LaneQuery<Real>& q, const K* const* keys, std::size_t count,
                     const Ahead* const* ahead, Real* out) {
  const std::size_t d = q.query->rows.cols;
  if constexpr (kHasScale<K>) return byte_dots(q.rounded, q.query->heads(), keys, count, d, ahead, out);
  std::size_t h = 0;
  const auto rows = [&](std::size_t first) { return q.rows + first * q.padded; };
  for (; h + 4 <= q.query->heads(); h += 4, ahead = nullptr) {
    dots_tiles<4, 2 * kTile>(rows(h), q.padded, keys, count, d, ahead, out + h * kBlock);
  }
  for (; h + 2 <= q.query->heads(); h += 2, ahead = nullptr) {
    dots_tiles<2, 4>(rows(h), q.padded, keys, count, d, ahead, out + h * kBlock);
  }
  for (; h < q.query->heads(); ++h, ahead = nullptr) {
    dots_tiles<1, 4>(rows(h), q.padded, keys, count, d, ahead, out + h * kBlock);
  }
}

/// Dot products become logits (LogitRule), in place. s: [g, kBlock].
template <class Real>
HWY_INLINE void apply_rule(const BasicQuery<Real>& q, const Position* positions, Real* HWY_RESTRICT s) {
  const Tag<Real> tag;
  const auto scale = hn::Set(tag, static_cast<Real>(*q.logit.scale));
  const auto cap = static_cast<Real>(q.logit.soft_cap);
  for (std::size_t h = 0; h < q.heads(); ++h) {
    Real* row = s + h * kBlock;
    for (std::size_t t = 0; t < kBlock; t += kLanes<Real>) {
      auto x = hn::Mul(hn::Load(tag, row + t), scale);
      if (cap > 0) x = hn::Mul(hn::Set(tag, cap), hn::Tanh(tag, hn::Div(x, hn::Set(tag, cap))));
      hn::Store(x, tag, row + t);
    }
    if (q.logit.alibi_slopes) {
      // The fused step is written out: left to the compiler, it is fused in one caller and not in another.
      const auto slope = hn::Set(tag, static_cast<Real>(q.logit.alibi_slopes[h]));
      alignas(64) Real distance[kBlock];
      for (std::size_t t = 0; t < kBlock; ++t) distance[t] = static_cast<Real>(std::abs(q.position - positions[t]));
      for (std::size_t t = 0; t < kBlock; t += kLanes<Real>) {
        hn::Store(hn::NegMulAdd(slope, hn::Load(tag, distance + t), hn::Load(tag, row + t)), tag, row + t);
      }
    }
  }
}

/// Logits of a query over its visible range: s(h, i) is at data[h * stride + i - first].
template <class Real>
struct Logits {
  const Real* data = nullptr;
  std::size_t stride = 0;
  Position first = 0;

  const Real* of_head(std::size_t h) const { return data + h * stride; }
};

/// While it lives, a workspace remembers what is known of one query of one KV head, which both outlive it; then it forgets.
/// Throws std::invalid_argument when the workspace is in use already, by a call whose estimator makes this one.
class Asking {
 public:
  template <class Real, class Kv>
  Asking(const BasicQuery<Real>& q, const Kv& kv, Workspace& ws) : ws_(ws) {
    if (ws.asked.query != nullptr) {
      fail("skim::attend: the workspace is in use by a call that has not returned; an estimator that makes a call of its "
           "own has to give it another workspace");
    }
    ws.asked.query = &q;
    ws.asked.kv = &plain(kv);
  }
  Asking(const Asking&) = delete;
  Asking& operator=(const Asking&) = delete;
  ~Asking() { ws_.asked = {}; }

 private:
  Workspace& ws_;
};

/// The logits that the workspace holds of `q`, or none (data = null).
template <class Real, class Kv>
Logits<Real> known_logits(const BasicQuery<Real>& q, const Kv& kv, const Workspace& ws) {
  const void* known = ws.asked.is_of(&q, &plain(kv)) ? ws.asked.logits : nullptr;
  return {static_cast<const Real*>(known), round_up(static_cast<std::size_t>(q.visible.size()), kBlock), q.visible.first};
}

/// Whether a score pass reads the two halves of the keys in turn, a block of each. Two streams keep more requests under
/// way where rows are long enough to be streams of their own; short ones lose by it (HACKING.md).
template <class K>
constexpr bool kTwoStreams = sizeof(K) >= 4;

/// Logits of `count` keys into all, [g, stride]. fill(i, block) makes the block of the keys from i on; those of the
/// next one are prefetched meanwhile. `s`: scratch for g kBlock values.
template <class Kv, class Real, class Fill>
void score_blocks(const LaneQuery<Real>& lanes, std::size_t count, const Fill& fill, Real* all, std::size_t stride,
                  Real* s) {
  const BasicQuery<Real>& q = *lanes.query;
  Block<Kv> block[2];
  const std::size_t blocks = (count + kBlock - 1) / kBlock;
  const auto at = [&](std::size_t j) {
    if constexpr (kTwoStreams<typename Kv::Key>) j = j / 2 + (j % 2 == 0 ? 0 : blocks - blocks / 2);
    return j * kBlock;
  };
  if (count != 0) fill(std::size_t{0}, block[0]);
  for (std::size_t j = 0, now = 0; j < blocks; ++j, now = 1 - now) {
    const Block<Kv>& b = block[now];
    const std::size_t i = at(j);
    const bool more = j + 1 < blocks;
    if (more) fill(at(j + 1), block[1 - now]);
    dots(lanes, b.keys, b.count, block[more ? 1 - now : now].keys, s);
    apply_rule(q, b.positions, s);
    for (std::size_t h = 0; h < q.heads(); ++h) {
      std::memcpy(all + h * stride + i, s + h * kBlock, kBlock * sizeof(Real));
    }
  }
}

/// The logits of `q` over its visible range; `q` is resolved. Reads every visible key once. Valid until the same workspace
/// is asked for other logits. Of the very query and KV head that a call hands to an estimator (not of copies) they are
/// computed at most once, and attention uses them again.
template <class Real, class Kv>
Logits<Real> logits(const BasicQuery<Real>& q, const Kv& indexed, Workspace& ws) {
  const auto& kv = plain(indexed);
  Logits<Real> s = known_logits(q, kv, ws);
  if (s.data != nullptr) {
    ws.asked.looked = true;
    return s;
  }
  const auto n = static_cast<std::size_t>(q.visible.size());
  const LaneQuery<Real> lanes = lane_query<typename Kv::Key>(q, ws);
  Real* all = ws.get<Real>(Workspace::kLogits, q.heads() * s.stride);
  Real* scratch = ws.get<Real>(Workspace::kBlockLogits, q.heads() * kBlock);
  const auto fill = [&](std::size_t i, Block<PlainKv<Kv>>& b) {
    fill_run(kv, q.visible.first + static_cast<Position>(i), std::min(kBlock, n - i), b);
  };
  score_blocks<PlainKv<Kv>>(lanes, n, fill, all, s.stride, scratch);
  ws.asked.logits = ws.asked.is_of(&q, &kv) ? all : nullptr;  // what was there is overwritten
  ws.asked.looked = ws.asked.logits != nullptr;
  ws.reads.keys += n;
  s.data = all;
  return s;
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_SCORE_INL_H_
