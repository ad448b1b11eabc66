// SPDX-License-Identifier: Apache-2.0
// Quantised rows as integers: queries and weights of 16 bits against bytes, exact sums of 32 bits.
//
// As floats, bytes cost two conversions for each vector of values, and heads that share a row are bound by
// arithmetic, not by memory. An integer multiply-add takes twice the products, and a byte becomes 16 bits in one step.
//
// A query is rounded once (round-inl.h), the weights of a block relative to the largest weight * scale in it. Steps of
// a byte are 258 times as large as these, so the error stays the storage's.
#if defined(SKIM_KERNEL_INT8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_KERNEL_INT8_INL_H_
#undef SKIM_KERNEL_INT8_INL_H_
#else
#define SKIM_KERNEL_INT8_INL_H_
#endif

#include <algorithm>

#include "skim/kernel/block-inl.h"
#include "skim/kernel/pairs-inl.h"
#include "skim/kernel/round-inl.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// So many products of 16 bits and a byte have a sum of 32 bits, whatever they are.
constexpr std::size_t kExactSum = 512;

/// The rows of a query group as `round_row` makes them.
struct RoundedRows {
  const std::int16_t* rows = nullptr;  // [g, padded]
  const float* steps = nullptr;        // [g]
  std::size_t padded = 0;
};

#if HWY_TARGET != HWY_SCALAR

/// Sums over the columns [c, last), at most kExactSum, of G rows times 4 keys. out: [G, kBlock].
template <int G, class Ahead>
HWY_INLINE void byte_dots_tile(const std::int16_t* HWY_RESTRICT q, std::size_t padded,
                               const I8* const* HWY_RESTRICT keys, std::size_t c, std::size_t last,
                               const Ahead* const* ahead, float* HWY_RESTRICT out) {
  constexpr int T = 4;
  PairSums sum[G][T];
  HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
    HWY_UNROLL(8) for (int t = 0; t < T; ++t) sum[h][t].clear();
  }
  for (; c + kStep<float> <= last; c += kStep<float>) {
    if (ahead) {
      HWY_UNROLL(8) for (int t = 0; t < T; ++t) prefetch_step<float>(ahead[t] + c);
    }
    hn::Vec<Tag16> k[T];
    HWY_UNROLL(8) for (int t = 0; t < T; ++t) k[t] = widen_bytes(keys[t] + c);
    HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
      const auto x = hn::Load(Tag16(), q + static_cast<std::size_t>(h) * padded + c);
      HWY_UNROLL(8) for (int t = 0; t < T; ++t) sum[h][t].add(k[t], x);
    }
  }
  if (c < last) {
    HWY_UNROLL(8) for (int t = 0; t < T; ++t) {
      const auto k = widen_tail(keys[t] + c, last - c);
      HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
        sum[h][t].add(k, hn::Load(Tag16(), q + static_cast<std::size_t>(h) * padded + c));
      }
    }
  }
  const auto of_head = [&](int h) HWY_ATTR { return sum_blocks4(sum[h][0], sum[h][1], sum[h][2], sum[h][3]); };
  if constexpr (G == 4) {
    store_sums({of_head(0), of_head(1), of_head(2), of_head(3)}, out);
  } else if constexpr (G == 2) {
    store_sums(of_head(0), of_head(1), out);
  } else {
    store_sums(of_head(0), out);
  }
}

/// The same for all columns and `count` keys. A sum that may need more than 32 bits is made of several.
template <int G, class Ahead>
HWY_INLINE void byte_dots_tiles(const std::int16_t* q, std::size_t padded, const I8* const* keys, std::size_t count,
                                std::size_t d, const Ahead* const* ahead, float* HWY_RESTRICT out) {
  for (std::size_t t = 0; t < count; t += 4) {
    byte_dots_tile<G>(q, padded, keys + t, 0, std::min(d, kExactSum), ahead ? ahead + t : nullptr, out + t);
  }
  for (std::size_t c = kExactSum; c < d; c += kExactSum) {
    float more[G * kBlock];
    for (std::size_t t = 0; t < count; t += 4) {
      byte_dots_tile<G>(q, padded, keys + t, c, std::min(d, c + kExactSum), ahead ? ahead + t : nullptr, more + t);
    }
    for (std::size_t h = 0; h < G; ++h) {
      for (std::size_t t = 0; t < count; ++t) out[h * kBlock + t] += more[h * kBlock + t];
    }
  }
}

/// Sums of all heads with the keys of a block, in units of step * scale.
template <class Ahead>
HWY_INLINE void byte_sums(const RoundedRows& q, std::size_t heads, const I8* const* keys, std::size_t count,
                          std::size_t d, const Ahead* const* ahead, float* out) {
  std::size_t h = 0;
  const auto rows = [&](std::size_t first) { return q.rows + first * q.padded; };
  // 4 heads take 16 sums; where there are 16 registers, 2 at a time.
  if constexpr (kTile == 2) {
    for (; h + 4 <= heads; h += 4, ahead = nullptr) {
      byte_dots_tiles<4>(rows(h), q.padded, keys, count, d, ahead, out + h * kBlock);
    }
  }
  for (; h + 2 <= heads; h += 2, ahead = nullptr) {
    byte_dots_tiles<2>(rows(h), q.padded, keys, count, d, ahead, out + h * kBlock);
  }
  for (; h < heads; ++h, ahead = nullptr) {
    byte_dots_tiles<1>(rows(h), q.padded, keys, count, d, ahead, out + h * kBlock);
  }
}

/// The weights of a block for one head: pairs of 16 bits, in units of `factor`.
struct RoundedWeights {
  std::int32_t pairs[kBlock / 2];
  float factor;
};

/// Weights times the scales of their values become multiples of the largest product / kMost16. An infinity or NaN
/// makes the factor NaN, and so all that the block is added to.
HWY_INLINE void round_weights(const float* HWY_RESTRICT weights, const float* HWY_RESTRICT scales, RoundedWeights& to) {
  const Tag<float> tag;
  const hn::Rebind<std::int16_t, Tag<float>> tag16;
  constexpr std::size_t kN = kLanes<float>;
  Vec<float> x[kBlock / kN];
  HWY_UNROLL(4) for (std::size_t i = 0; i < kBlock / kN; ++i) {
    x[i] = hn::Mul(hn::Load(tag, weights + i * kN), hn::Load(tag, scales + i * kN));
  }
  const float max = largest_magnitude(kBlock, [&](std::size_t t) HWY_ATTR { return x[t / kN]; });
  alignas(64) std::int16_t rounded[kBlock];
  const auto store = [&](std::size_t i, Vec<float> steps) HWY_ATTR {
    hn::Store(hn::DemoteTo(tag16, hn::NearestInt(steps)), tag16, rounded + i * kN);
  };
  to.factor = max / kMost16;
  if (max > 0x1p-100f && max < kInfinity<float>) {
    const auto inverse = hn::Set(tag, kMost16 / max);
    HWY_UNROLL(4) for (std::size_t i = 0; i < kBlock / kN; ++i) store(i, hn::Mul(x[i], inverse));
  } else if (max > 0 && max < kInfinity<float>) {  // a quotient by a subnormal may be infinite
    for (std::size_t i = 0; i < kBlock / kN; ++i) {
      store(i, hn::Mul(hn::Div(x[i], hn::Set(tag, max)), hn::Set(tag, kMost16)));
    }
  } else {
    std::memset(rounded, 0, sizeof(rounded));
    if (max != 0) to.factor = std::numeric_limits<float>::quiet_NaN();
  }
  std::memcpy(to.pairs, rounded, sizeof(rounded));
}

/// Adds the weighted values of a block to the numerators of G heads, W steps of columns from c on. Two keys at
/// a time: their values are interleaved, which is the lane order of I8. `values` goes up to an even number of rows.
template <int G, int W, class Load, class Ahead>
HWY_INLINE void weigh_bytes_tile(const RoundedWeights* HWY_RESTRICT weights, const float* HWY_RESTRICT rescale,
                                 const I8* const* HWY_RESTRICT values, std::size_t count, std::size_t c,
                                 const Load& load, const Ahead* const* ahead, float* HWY_RESTRICT numerator,
                                 std::size_t padded) {
  const Tag<float> tag;
  PairSums low[G][W], high[G][W];
  HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
    HWY_UNROLL(8) for (int w = 0; w < W; ++w) {
      low[h][w].clear();
      high[h][w].clear();
    }
  }
  for (std::size_t t = 0; t < count; t += 2) {
    if (ahead) {
      HWY_UNROLL(8) for (int w = 0; w < W; ++w) {
        const std::size_t at = c + static_cast<std::size_t>(w) * kStep<float>;
        prefetch_step<float>(ahead[t] + at);
        prefetch_step<float>(ahead[t + 1] + at);
      }
    }
    hn::Vec<Tag16> a[W], b[W];
    HWY_UNROLL(8) for (int w = 0; w < W; ++w) {
      const std::size_t at = c + static_cast<std::size_t>(w) * kStep<float>;
      const auto first = load(values[t] + at), second = load(values[t + 1] + at);
      a[w] = hn::InterleaveLower(Tag16(), first, second);
      b[w] = hn::InterleaveUpper(Tag16(), first, second);
    }
    HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
      const auto p = hn::BitCast(Tag16(), hn::Set(Tag32(), weights[h].pairs[t / 2]));
      HWY_UNROLL(8) for (int w = 0; w < W; ++w) {
        low[h][w].add(a[w], p);
        high[h][w].add(b[w], p);
      }
    }
  }
  HWY_UNROLL(8) for (int h = 0; h < G; ++h) {
    const auto r = hn::Set(tag, rescale[h]), f = hn::Set(tag, weights[h].factor);
    HWY_UNROLL(8) for (int w = 0; w < W; ++w) {
      float* out = numerator + static_cast<std::size_t>(h) * padded + c + static_cast<std::size_t>(w) * kStep<float>;
      hn::Store(hn::MulAdd(hn::Load(tag, out), r, hn::Mul(low[h][w].as_float(), f)), tag, out);
      out += kLanes<float>;
      hn::Store(hn::MulAdd(hn::Load(tag, out), r, hn::Mul(high[h][w].as_float(), f)), tag, out);
    }
  }
}

template <int G, int W, class Ahead>
HWY_INLINE void weigh_bytes_heads(const float* weights, const float* scales, const float* rescale,
                                  const I8* const* values, std::size_t count, std::size_t cols,
                                  const Ahead* const* ahead, float* numerator, std::size_t padded) {
  RoundedWeights rounded[G];
  for (std::size_t h = 0; h < G; ++h) round_weights(weights + h * kBlock, scales, rounded[h]);
  constexpr std::size_t kWide = W * kStep<float>;
  const auto whole = [](const I8* p) HWY_ATTR { return widen_bytes(p); };
  std::size_t c = 0;
  for (; c + kWide <= cols; c += kWide) {
    weigh_bytes_tile<G, W>(rounded, rescale, values, count, c, whole, ahead, numerator, padded);
  }
  for (; c + kStep<float> <= cols; c += kStep<float>) {
    weigh_bytes_tile<G, 1>(rounded, rescale, values, count, c, whole, ahead, numerator, padded);
  }
  if (c < cols) {
    const auto tail = [left = cols - c](const I8* p) HWY_ATTR { return widen_tail(p, left); };
    ahead = nullptr;
    weigh_bytes_tile<G, 1>(rounded, rescale, values, count, c, tail, ahead, numerator, padded);
  }
}

/// All heads of the group.
template <class Ahead>
HWY_INLINE void add_bytes(const float* weights, const float* scales, const float* rescale, std::size_t heads,
                          const I8* const* values, std::size_t count, std::size_t cols, const Ahead* const* ahead,
                          float* numerator, std::size_t padded) {
  std::size_t h = 0;
  for (; h + 4 <= heads; h += 4, ahead = nullptr) {
    weigh_bytes_heads<4, kTile>(weights + h * kBlock, scales, rescale + h, values, count, cols, ahead,
                                numerator + h * padded, padded);
  }
  for (; h + 2 <= heads; h += 2, ahead = nullptr) {
    weigh_bytes_heads<2, kTile>(weights + h * kBlock, scales, rescale + h, values, count, cols, ahead,
                                numerator + h * padded, padded);
  }
  for (; h < heads; ++h, ahead = nullptr) {
    weigh_bytes_heads<1, 2>(weights + h * kBlock, scales, rescale + h, values, count, cols, ahead,
                            numerator + h * padded, padded);
  }
}

#else  // one lane: no pairs, plain sums

template <class Ahead>
void byte_sums(const RoundedRows& q, std::size_t heads, const I8* const* keys, std::size_t count, std::size_t d,
               const Ahead* const*, float* out) {
  for (std::size_t h = 0; h < heads; ++h) {
    for (std::size_t t = 0; t < count; ++t) {
      std::int64_t sum = 0;
      for (std::size_t c = 0; c < d; ++c) sum += std::int64_t{q.rows[h * q.padded + c]} * keys[t][c].byte;
      out[h * kBlock + t] = static_cast<float>(sum);
    }
  }
}

template <class Ahead>
void add_bytes(const float* weights, const float* scales, const float* rescale, std::size_t heads,
               const I8* const* values, std::size_t count, std::size_t cols, const Ahead* const*, float* numerator,
               std::size_t padded) {
  for (std::size_t h = 0; h < heads; ++h) {
    for (std::size_t c = 0; c < cols; ++c) {
      float sum = 0;
      for (std::size_t t = 0; t < count; ++t) {
        sum += weights[h * kBlock + t] * scales[t] * static_cast<float>(values[t][c].byte);
      }
      float& to = numerator[h * padded + c];
      to = to * rescale[h] + sum;
    }
  }
}

#endif

/// The scales of a block's rows.
HWY_INLINE void load_scales(const I8* const* rows, std::size_t d, float (&scales)[kBlock]) {
  HWY_UNROLL(16) for (std::size_t t = 0; t < kBlock; ++t) scales[t] = scale_of(rows[t], d);
}

/// Asks for the scales of a block's rows: half the time they are on a line that the steps of a row do not touch.
template <class Ahead>
HWY_INLINE void prefetch_scales(const Ahead* const* ahead, std::size_t d) {
  if constexpr (kHasScale<Ahead>) {
    if (!ahead) return;
    HWY_UNROLL(16) for (std::size_t t = 0; t < kBlock; ++t) __builtin_prefetch(ahead[t] + d, 0, 3);
  }
}

/// `dots` (score-inl.h) for quantised keys.
template <class Ahead>
HWY_INLINE void byte_dots(const RoundedRows& q, std::size_t heads, const I8* const* keys, std::size_t count,
                          std::size_t d, const Ahead* const* ahead, float* HWY_RESTRICT out) {
  const Tag<float> tag;
  alignas(64) float scales[kBlock];
  load_scales(keys, d, scales);
  prefetch_scales(ahead, d);
  byte_sums(q, heads, keys, count, d, ahead, out);
  for (std::size_t h = 0; h < heads; ++h) {
    const auto step = hn::Set(tag, q.steps[h]);
    for (std::size_t t = 0; t < kBlock; t += kLanes<float>) {
      float* at = out + h * kBlock + t;
      hn::Store(hn::Mul(hn::Mul(hn::Load(tag, at), step), hn::Load(tag, scales + t)), tag, at);
    }
  }
}

/// `weigh` (accumulate-inl.h) for quantised values. Weights are 0 from `count` on.
template <class Ahead>
HWY_INLINE void weigh_bytes(const float* weights, const float* rescale, std::size_t heads, const I8* const* values,
                            std::size_t count, std::size_t cols, const Ahead* const* ahead, float* numerator,
                            std::size_t padded) {
  alignas(64) float scales[kBlock];
  load_scales(values, cols, scales);
  prefetch_scales(ahead, cols);
  add_bytes(weights, scales, rescale, heads, values, count, cols, ahead, numerator, padded);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_KERNEL_INT8_INL_H_
