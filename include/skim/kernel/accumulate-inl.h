// SPDX-License-Identifier: Apache-2.0
// The one kernel: a list of (position, log weight) becomes attention.
//
// Keys are taken in blocks of kBlock with an online softmax, blocks are summed into chunks (chunk-inl.h), and chunks
// are merged from left to right.
#if defined(SKIM_KERNEL_ACCUMULATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_ACCUMULATE_INL_H_
#undef SKIM_KERNEL_ACCUMULATE_INL_H_
#else
#define SKIM_KERNEL_ACCUMULATE_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <limits>

#include "skim/core/state.h"
#include "skim/kernel/chunk-inl.h"
#include "skim/kernel/merge-inl.h"
#include "skim/kernel/score-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Unnormalised attention of g heads: numerator e^{-max} sum w e^s v in lane order of the values,
/// the same for the denominator. max = -inf: nothing yet.
template <class Real>
struct Partial {
  Real* numerator = nullptr;  // [g, padded]
  Real* max = nullptr;        // [g]
  Real* sum = nullptr;        // [g]

  /// Values of Real that one takes.
  static std::size_t size(std::size_t heads, std::size_t padded) {
    return round_up(heads * padded + 2 * heads, kStep<Real>);
  }
  static Partial at(Real* memory, std::size_t heads, std::size_t padded) {
    return {memory, memory + heads * padded, memory + heads * padded + heads};
  }
  void clear(std::size_t heads, std::size_t padded) const {
    std::memset(numerator, 0, heads * padded * sizeof(Real));
    for (std::size_t h = 0; h < heads; ++h) {
      max[h] = -kInfinity<Real>;
      sum[h] = 0;
    }
  }
};

/// e^{x - max}; 1 where x = max even when both are infinite, and 0 for x = -inf = max.
template <class Real>
HWY_INLINE Vec<Real> exp_below(Vec<Real> x, Real max) {
  const Tag<Real> tag;
  const auto top = hn::Set(tag, max);
  if (max == -kInfinity<Real>) return exp_nonpositive(x);  // each x is -inf or NaN
  return hn::IfThenElse(hn::Eq(x, top), hn::Set(tag, Real{1}), exp_nonpositive(hn::Sub(x, top)));
}

/// The online softmax of one head over one block. s: kBlock logits, -inf beyond the last; they become
/// weights relative to the new maximum. Returns what everything before must be multiplied by.
template <class Real>
HWY_INLINE Real soften(Real* HWY_RESTRICT s, Real& max, Real& sum) {
  const Tag<Real> tag;
  auto top = hn::Load(tag, s);
  for (std::size_t t = kLanes<Real>; t < kBlock; t += kLanes<Real>) top = hn::Max(hn::Load(tag, s + t), top);
  const Real block_max = hn::GetLane(hn::MaxOfLanes(tag, top));
  Real rescale = 1;
  if (!(block_max <= max)) {  // grew, or is NaN
    rescale = hn::GetLane(exp_below(hn::Set(tag, max), block_max));
    max = block_max;
  }
  auto total = hn::Zero(tag);
  for (std::size_t t = 0; t < kBlock; t += kLanes<Real>) {
    const auto w = exp_below(hn::Load(tag, s + t), max);
    hn::Store(w, tag, s + t);
    total = hn::Add(total, w);
  }
  sum = hn::GetLane(hn::MulAdd(hn::Set(tag, sum), hn::Set(tag, rescale), hn::SumOfLanes(tag, total)));
  return rescale;
}

/// Adds the weighted values of a block to the numerators of G heads, W steps of columns at a time.
/// The block's part is summed on its own first: small weights would stagnate against a long sum.
template <int G, int W, class V, class Real, class Ahead>
HWY_INLINE void weigh_tile(const Real* HWY_RESTRICT weights, const Real* HWY_RESTRICT rescale,
                           const V* const* HWY_RESTRICT values, std::size_t count, std::size_t c,
                           const Ahead* const* ahead, Real* HWY_RESTRICT numerator, std::size_t padded) {
  const Tag<Real> tag;
  Vec<Real> low[G][W], high[G][W];
  HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
    HWY_UNROLL(8) for (int w = 0; w < W; ++w) low[h][w] = high[h][w] = hn::Zero(tag);
  }
  for (std::size_t t = 0; t < count; ++t) {
    if (ahead) {
      HWY_UNROLL(8) for (int w = 0; w < W; ++w) {
        prefetch_step<Real>(ahead[t] + c + static_cast<std::size_t>(w) * kStep<Real>);
      }
    }
    Vec<Real> a[W], b[W];
    HWY_UNROLL(8) for (int w = 0; w < W; ++w) {
      Storage<V, Real>::load(values[t] + c + static_cast<std::size_t>(w) * kStep<Real>, a[w], b[w]);
    }
    HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
      const auto p = hn::Set(tag, weights[static_cast<std::size_t>(h) * kBlock + t]);
      HWY_UNROLL(8) for (int w = 0; w < W; ++w) {
        low[h][w] = hn::MulAdd(a[w], p, low[h][w]);
        high[h][w] = hn::MulAdd(b[w], p, high[h][w]);
      }
    }
  }
  HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
    const auto r = hn::Set(tag, rescale[h]);
    HWY_UNROLL(8) for (int w = 0; w < W; ++w) {
      Real* out = numerator + static_cast<std::size_t>(h) * padded + c + static_cast<std::size_t>(w) * kStep<Real>;
      hn::Store(hn::MulAdd(hn::Load(tag, out), r, low[h][w]), tag, out);
      hn::Store(hn::MulAdd(hn::Load(tag, out + kLanes<Real>), r, high[h][w]), tag, out + kLanes<Real>);
    }
  }
}

/// The last columns of rows whose length is not a multiple of kStep.
template <class V, class Real>
void weigh_tail(const Real* HWY_RESTRICT weights, Real rescale, const V* const* values, std::size_t count,
                std::size_t c, std::size_t cols, Real* HWY_RESTRICT numerator) {
  const Tag<Real> tag;
  auto low = hn::Zero(tag), high = hn::Zero(tag);
  for (std::size_t t = 0; t < count; ++t) {
    Vec<Real> a, b;
    load_tail<Real>(values[t] + c, cols - c, a, b);
    const auto p = hn::Set(tag, weights[t]);
    low = hn::MulAdd(a, p, low);
    high = hn::MulAdd(b, p, high);
  }
  const auto r = hn::Set(tag, rescale);
  hn::Store(hn::MulAdd(hn::Load(tag, numerator + c), r, low), tag, numerator + c);
  hn::Store(hn::MulAdd(hn::Load(tag, numerator + c + kLanes<Real>), r, high), tag,
            numerator + c + kLanes<Real>);
}

template <int G, int W, class V, class Real, class Ahead>
HWY_INLINE void weigh_heads(const Real* weights, const Real* rescale, const V* const* values,
                            std::size_t count, std::size_t cols, const Ahead* const* ahead, Real* numerator,
                            std::size_t padded) {
  constexpr std::size_t kWide = W * kStep<Real>;
  std::size_t c = 0;
  for (; c + kWide <= cols; c += kWide) {
    weigh_tile<G, W>(weights, rescale, values, count, c, ahead, numerator, padded);
  }
  for (; c + kStep<Real> <= cols; c += kStep<Real>) {
    weigh_tile<G, 1>(weights, rescale, values, count, c, ahead, numerator, padded);
  }
  if (c < cols) {
    for (std::size_t h = 0; h < G; ++h) {
      weigh_tail(weights + h * kBlock, rescale[h], values, count, c, cols, numerator + h * padded);
    }
  }
}

/// All heads of the group: 4, 2 and 1 at a time. `ahead` may be null.
template <class V, class Real, class Ahead>
HWY_INLINE void weigh(const Real* weights, const Real* rescale, std::size_t heads, const V* const* values,
                      std::size_t count, std::size_t cols, const Ahead* const* ahead, Real* numerator,
                      std::size_t padded) {
  if constexpr (kHasScale<V>) {
    return weigh_bytes(weights, rescale, heads, values, count, cols, ahead, numerator, padded);
  }
  std::size_t h = 0;
  for (; h + 4 <= heads; h += 4, ahead = nullptr) {
    weigh_heads<4, kTile>(weights + h * kBlock, rescale + h, values, count, cols, ahead, numerator + h * padded, padded);
  }
  for (; h + 2 <= heads; h += 2, ahead = nullptr) {
    weigh_heads<2, 2 * kTile>(weights + h * kBlock, rescale + h, values, count, cols, ahead, numerator + h * padded, padded);
  }
  for (; h < heads; ++h, ahead = nullptr) {
    weigh_heads<1, 4>(weights + h * kBlock, rescale + h, values, count, cols, ahead, numerator + h * padded, padded);
  }
}

/// The order in which a chunk's keys and values are read. It changes no bit of the result.
struct Reading {
  std::size_t stretch = kBlock;  ///< keys scored before their values are weighed: a multiple of kBlock
  Prefetch prefetch = Prefetch::kOther;
};

/// The longest stretch there is.
constexpr std::size_t kMostBlocks = 256 / kBlock;

/// What `skim_bench` and the variants in HACKING.md say is best for keys of type K and a group of `heads`.
template <class K>
constexpr Reading reading(std::size_t heads) {
  if constexpr (kZen && sizeof(K) == 4) {
    // One head computes so little that the hardware's prefetcher is never late; it wants long runs.
    return heads == 1 ? Reading{kMostBlocks * kBlock, Prefetch::kNone} : Reading{kBlock, Prefetch::kOther};
  } else {
    (void)heads;
    return {kBlock, kZen ? Prefetch::kSame : Prefetch::kOther};
  }
}

/// When no key is read.
constexpr Reading kKnownReading{kBlock, Prefetch::kSame};

/// Logits of the block, [g, kBlock]: known ones, or computed. Entries from b.count on are undefined.
/// `ahead`: rows to prefetch while it computes, or null.
template <class Real, class Kv, class Ahead>
HWY_INLINE void block_logits(const LaneQuery<Real>& q, const Logits<Real>& known, const Block<Kv>& b,
                             const Ahead* const* ahead, Real* HWY_RESTRICT s) {
  if (known.data == nullptr) {
    dots(q, b.keys, b.count, ahead, s);
    apply_rule(*q.query, b.positions, s);
    return;
  }
  for (std::size_t h = 0; h < q.query->heads(); ++h) {
    const Real* of_head = known.of_head(h) - known.first;
    for (std::size_t t = 0; t < b.count; ++t) s[h * kBlock + t] = of_head[b.positions[t]];
  }
}

/// visit(rows to prefetch): of the same stream, of the other one, or null.
template <class Same, class Other, class Visit>
HWY_INLINE void with_ahead(Prefetch prefetch, Same same, Other other, const Visit& visit) {
  if constexpr (std::is_same_v<Same, Other>) {  // one copy of the kernel
    visit(prefetch == Prefetch::kNone ? Same{} : prefetch == Prefetch::kSame ? same : other);
  } else if (prefetch == Prefetch::kOther) {
    visit(other);
  } else {
    visit(prefetch == Prefetch::kNone ? Same{} : same);
  }
}

/// Values of Real that `accumulate_chunk` needs as scratch.
constexpr std::size_t chunk_scratch(std::size_t heads) { return heads * (kMostBlocks * kBlock + 1); }

/// What is known of a softmax when it is done: its largest logits, and factors that make its weights add up to a half.
template <class Real>
struct Normaliser {
  Real* max = nullptr;     // [g]
  Real* factor = nullptr;  // [g]
};

/// One chunk of a selection. `known`: the logits of all visible positions, when selecting has computed them; keys
/// are then not read. `scratch`: chunk_scratch(g) values. `by`: weights are normalised before they meet a value.
template <class Real, class Kv>
void accumulate_chunk(const LaneQuery<Real>& q, const Logits<Real>& known, const Kv& kv, const Selection& selection,
                      const Chunk& chunk, const Reading& reading, const Partial<Real>& partial, Real* scratch,
                      const Normaliser<Real>* by = nullptr) {
  using Keys = const typename Kv::Key* const*;
  using Values = const typename Kv::Value* const*;
  const std::size_t heads = q.query->heads();
  const std::size_t cols = kv.value_dim();
  const std::size_t padded = round_up(cols, kStep<Real>);
  Real* rescale = scratch + heads * kMostBlocks * kBlock;
  partial.clear(heads, padded);
  if (by != nullptr) std::copy_n(by->max, heads, partial.max);

  // A stretch of blocks and the one after it, in a ring: blocks[at] is the first, blocks[after(at, count)] the next.
  const std::size_t most = reading.stretch / kBlock;
  Block<Kv> blocks[kMostBlocks + 1];
  const auto after = [most](std::size_t i, std::size_t steps) { return i + steps > most ? i + steps - (most + 1) : i + steps; };
  Blocks<Kv> source(kv, selection, chunk);
  std::size_t at = 0;
  for (bool more = source.next(blocks[0]); more;) {
    std::size_t count = 1;
    while ((more = source.next(blocks[after(at, count)])) && count < most) ++count;
    const auto block = [&](std::size_t i) -> const Block<Kv>& { return blocks[after(at, i)]; };
    const std::size_t last = more ? count : count - 1;  // the last block that may be prefetched
    const auto next = [&](std::size_t i) -> const Block<Kv>& { return block(std::min(i + 1, last)); };

    for (std::size_t i = 0; i < count; ++i) {
      const Block<Kv>& b = block(i);
      with_ahead(reading.prefetch, Keys{next(i).keys}, Values{b.values}, [&](auto ahead) HWY_ATTR {
        block_logits(q, known, b, ahead, scratch + i * heads * kBlock);
      });
    }
    for (std::size_t i = 0; i < count; ++i) {
      const Block<Kv>& b = block(i);
      Real* weights = scratch + i * heads * kBlock;
      for (std::size_t h = 0; h < heads; ++h) {
        Real* s = weights + h * kBlock;
        for (std::size_t t = b.count; t < kBlock; ++t) s[t] = -kInfinity<Real>;
        if (chunk.picks) {
          for (std::size_t t = 0; t < b.count; ++t) s[t] += static_cast<Real>(b.log_weights[t]);
        }
        rescale[h] = soften(s, partial.max[h], partial.sum[h]);
        if (by != nullptr) {
          for (std::size_t t = 0; t < kBlock; ++t) s[t] *= by->factor[h];
        }
      }
      with_ahead(reading.prefetch, Values{next(i).values}, Keys{next(i).keys}, [&](auto ahead) HWY_ATTR {
        weigh(weights, rescale, heads, b.values, b.count, cols, ahead, partial.numerator, padded);
      });
    }
    at = after(at, count);
  }
}

/// Adds `part` to `total`: the merge of unnormalised states. An empty `total` becomes a copy.
template <class Real>
void merge_partial(const Partial<Real>& total, const Partial<Real>& part, std::size_t heads, std::size_t padded) {
  const Tag<Real> tag;
  for (std::size_t h = 0; h < heads; ++h) {
    Real* to = total.numerator + h * padded;
    const Real* from = part.numerator + h * padded;
    const bool empty = total.sum[h] == 0 && total.max[h] == -kInfinity<Real>;
    if (empty) {
      std::memcpy(to, from, padded * sizeof(Real));
      total.max[h] = part.max[h];
      total.sum[h] = part.sum[h];
      continue;
    }
    const Real max = part.max[h] > total.max[h] || std::isnan(part.max[h]) ? part.max[h] : total.max[h];
    const Real keep = hn::GetLane(exp_below(hn::Set(tag, total.max[h]), max));
    const Real add = hn::GetLane(exp_below(hn::Set(tag, part.max[h]), max));
    const auto k = hn::Set(tag, keep), a = hn::Set(tag, add);
    for (std::size_t c = 0; c < padded; c += kLanes<Real>) {
      const auto sum = hn::MulAdd(hn::Load(tag, to + c), k, hn::Mul(hn::Load(tag, from + c), a));
      hn::Store(sum, tag, to + c);
    }
    total.max[h] = max;
    total.sum[h] =
        hn::GetLane(hn::MulAdd(hn::Set(tag, total.sum[h]), k, hn::Mul(hn::Set(tag, part.sum[h]), a)));
  }
}

/// Normalises into the caller's memory. V: the storage type of the values.
template <class V, class Real>
void finish(const Partial<Real>& p, std::size_t padded, const BasicStateView<Real>& state) {
  for (std::size_t h = 0; h < state.out.rows; ++h) {
    Real sum = p.sum[h];
    // Each +inf logit has added 1; one is a limit that exists, several have none.
    if (p.max[h] == kInfinity<Real> && sum != 1) sum = std::numeric_limits<Real>::quiet_NaN();
    from_lanes<V>(p.numerator + h * padded, state.out.cols, sum == 0 ? Real{0} : Real{1} / sum, state.out.row(h));
    state.lse_of(h) = sum == 0 ? -kInfinity<Real> : p.max[h] + std::log(sum);
  }
}

/// Values of Real that `finish_in_range` needs as scratch.
constexpr std::size_t finish_scratch(std::size_t heads, std::size_t padded) { return 2 * heads + padded; }

/// The same for `total`. Where its sums have left the range of Real, which the means of their values cannot, they are
/// made once more: again(normaliser) fills `total` with numerators whose weights add up to a half.
template <class V, class Real, class Again>
void finish_in_range(const Partial<Real>& total, std::size_t padded, const BasicStateView<Real>& state, Real* scratch,
                     const Again& again) {
  finish<V>(total, padded, state);
  const std::size_t heads = state.out.rows, cols = state.out.cols;
  const auto may_be_finite = [&](std::size_t h) {
    return !std::isnan(state.lse_of(h)) && !all_finite(state.out.row(h), cols);
  };
  std::size_t first = 0;
  while (first < heads && !may_be_finite(first)) ++first;
  if (first == heads) return;

  constexpr Real kMost = std::numeric_limits<Real>::max();
  const Normaliser<Real> by{scratch, scratch + heads};
  std::copy_n(total.max, heads, by.max);
  for (std::size_t h = 0; h < heads; ++h) by.factor[h] = Real{0.5} / total.sum[h];
  again(by);
  Real* halves = scratch + 2 * heads;
  for (std::size_t h = first; h < heads; ++h) {
    if (!may_be_finite(h)) continue;
    from_lanes<V>(total.numerator + h * padded, cols, Real{1}, halves);
    Real* out = state.out.row(h);
    for (std::size_t c = 0; c < cols; ++c) {
      if (std::isfinite(out[c]) || !std::isfinite(halves[c])) continue;
      out[c] = std::min(std::max(2 * halves[c], -kMost), kMost);
    }
  }
}

/// Adds the query's learned sink logits, if it has any, to the denominators.
template <class Real>
void merge_sinks(const BasicQuery<Real>& q, const BasicStateView<Real>& state) {
  if (!q.sink_logits) return;
  for (std::size_t h = 0; h < q.heads(); ++h) {
    merge_sink(state.out.row(h), state.lse_of(h), static_cast<Real>(q.sink_logits[h]), state.out.cols);
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_ACCUMULATE_INL_H_
