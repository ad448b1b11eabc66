// SPDX-License-Identifier: Apache-2.0
// What page boxes know of logits: for each query head and page two numbers between which all logits of the page lie.
#if defined(SKIM_INDEX_BOX_BOUNDS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_BOX_BOUNDS_INL_H_
#undef SKIM_INDEX_BOX_BOUNDS_INL_H_
#else
#define SKIM_INDEX_BOX_BOUNDS_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "skim/core/query.h"
#include "skim/core/workspace.h"
#include "skim/index/boxes-inl.h"
#include "skim/kernel/pool-inl.h"
#include "skim/kernel/round-inl.h"
#include "skim/kernel/score-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// What boxes read of a query group. Lives in the workspace (kQuery, kIndexQuery).
struct BoxQuery {
  LaneQuery<float> rows;         // q, against centres
  LaneQuery<float> magnitudes;   // |q|, against half-widths
  const float* norm = nullptr;   // [g], upper bounds of the length of q
  const float* off = nullptr;    // [g], upper bounds of the distance between q and what the keys are multiplied by
  const float* most = nullptr;   // [g]: of a box that reaches so far, or further, nothing is known
};

/// How far a query row is from the one that keys of int8 see.
inline float rounding_of_row(const float* row, std::size_t d, std::int16_t* scratch) {
  const double step = static_cast<double>(round_row(row, d, scratch));
  double squares = 0;
  for (std::size_t c = 0; c < d; ++c) {
    const double off = static_cast<double>(row[c]) - step * static_cast<double>(scratch[c]);
    squares += off * off;
  }
  return static_cast<float>(std::sqrt(squares) * (1 + 1e-6));
}

/// K: the storage type of the keys in the boxes.
template <class K>
BoxQuery box_query(const BasicQuery<float>& q, Workspace& ws) {
  const Tag<float> tag;
  const std::size_t heads = q.heads(), d = q.rows.cols;
  const LaneQuery<float> rows = lane_query<BF16>(q, ws);
  const std::size_t all = heads * rows.padded;
  float* magnitudes = ws.get<float>(Workspace::kIndexQuery, all + rows.padded + 3 * heads);
  float* norm = magnitudes + all + rows.padded;
  float* off = norm + heads;
  float* most = off + heads;
  const bool finite_scale = std::abs(static_cast<float>(*q.logit.scale)) < kInfinity<float>;
  for (std::size_t c = 0; c < all; c += kLanes<float>) {
    hn::Store(hn::Abs(hn::Load(tag, rows.rows + c)), tag, magnitudes + c);
  }
  for (std::size_t h = 0; h < heads; ++h) {
    double squares = 0;
    for (std::size_t c = 0; c < d; ++c) {
      const double x = static_cast<double>(q.rows.row(h)[c]);
      squares += x * x;
    }
    norm[h] = static_cast<float>(std::sqrt(squares) * (1 + 1e-6));
    off[h] = 0;
    if constexpr (kHasScale<K>) {
      off[h] = rounding_of_row(q.rows.row(h), d, reinterpret_cast<std::int16_t*>(magnitudes + all));
    }
    // Where a sum may overflow on its way nothing is known; sums with bytes are of numbers that still lack their scale.
    most[h] = norm[h] < 1e30f && finite_scale ? 1e37f / std::max(norm[h], 1.0f) : 0.0f;
  }
  return {rows, {&q, magnitudes, rows.padded}, norm, off, most};
}

/// The smallest and the largest distance between a position and those of a run, as the logit rule counts it.
struct Distances {
  float nearest, farthest;

  Distances(Position from, Span run) {
    const Position a = std::abs(from - run.first), b = std::abs(from - (run.last - 1));
    nearest = run.contains(from) ? 0.0f : static_cast<float>(std::min(a, b));
    farthest = static_cast<float>(std::max(a, b));
  }
};

/// Up to kBlock pages: their rows, how far they reach and how far they are from the query.
struct BoxBlock {
  std::size_t count = 0;
  const BF16* centres[kBlock];
  const BF16* widths[kBlock];
  alignas(64) float reach[kBlock];
  alignas(64) float nearest[kBlock];
  alignas(64) float farthest[kBlock];

  /// page_at(t): the t-th of 1 <= n <= kBlock pages.
  template <class PageAt>
  void fill(const PageBoxes& boxes, Position position, const PageAt& page_at, std::size_t n) {
    const std::size_t d = boxes.key_dim();
    const auto size = static_cast<Position>(boxes.page_size());
    count = n;
    for (std::size_t t = 0; t < kBlock; ++t) {
      const std::size_t page = page_at(std::min(t, n - 1));
      centres[t] = BoxAccess::boxes(boxes).data() + page * 2 * d;
      widths[t] = centres[t] + d;
      reach[t] = BoxAccess::reach(boxes)[page];
      const auto first = static_cast<Position>(page) * size;
      const Distances distance(position, {first, first + size});
      nearest[t] = distance.nearest;
      farthest[t] = distance.farthest;
    }
  }
};

/// Dot products become bounds of dot products. low: <q, centre>, high: <|q|, half-width>, [g, kBlock] both.
///
/// With exact sums <q, key> lies between the difference and the sum of the two. The canonical dot product may be beyond
/// them by no more than
///   (d + 64) 2^-23 |q| reach    the rounding of three sums, of at most d + 64 steps each, of |q| (|centre| + |width|)
///                               and of |q| |key|, and that of the few operations here; |key| is no more than reach
///   off reach                   what the query is rounded by, for keys of int8
/// and by what underflows, whether to a number with few digits or, in a thread that flushes them, to zero.
HWY_INLINE void spread_dots(const BoxQuery& q, const BoxBlock& block, float* HWY_RESTRICT low,
                            float* HWY_RESTRICT high) {
  constexpr float kUnderflow = 0x1p-90f;
  const Tag<float> tag;
  const BasicQuery<float>& of = *q.rows.query;
  const float rounding = static_cast<float>(of.rows.cols + 64) * 0x1p-23f;
  const auto underflow = hn::Set(tag, kUnderflow);
  for (std::size_t h = 0; h < of.heads(); ++h) {
    const auto each = hn::Set(tag, q.off[h] + rounding * (q.norm[h] + kUnderflow));
    for (std::size_t t = 0; t < kBlock; t += kLanes<float>) {
      const auto slack = hn::MulAdd(each, hn::Add(hn::Load(tag, block.reach + t), underflow), underflow);
      const auto centre = hn::Load(tag, low + h * kBlock + t);
      const auto width = hn::Add(hn::Load(tag, high + h * kBlock + t), slack);
      hn::Store(hn::Sub(centre, width), tag, low + h * kBlock + t);
      hn::Store(hn::Add(centre, width), tag, high + h * kBlock + t);
    }
  }
}

/// Bounds of dot products become bounds of logits. Each step of the rule is monotone, as it is rounded too, but for
/// tanh.
HWY_INLINE void spread_rule(const BoxQuery& q, const BoxBlock& block, float* HWY_RESTRICT low,
                            float* HWY_RESTRICT high) {
  const Tag<float> tag;
  const BasicQuery<float>& of = *q.rows.query;
  BasicQuery<float> without_distance = of;
  without_distance.logit.alibi_slopes = nullptr;
  const Position nowhere[kBlock] = {};
  apply_rule(without_distance, nowhere, low);
  apply_rule(without_distance, nowhere, high);
  const auto of_tanh = hn::Set(tag, static_cast<float>(of.logit.soft_cap) * 4e-6f);
  const auto infinite = hn::Set(tag, kInfinity<float>);
  const auto is_number = [](Vec<float> x) HWY_ATTR { return hn::Eq(x, x); };
  for (std::size_t h = 0; h < of.heads(); ++h) {
    const auto most_reach = hn::Set(tag, q.most[h]);
    for (std::size_t t = 0; t < kBlock; t += kLanes<float>) {
      const auto a = hn::Load(tag, low + h * kBlock + t), b = hn::Load(tag, high + h * kBlock + t);
      auto known = hn::And(hn::Lt(hn::Load(tag, block.reach + t), most_reach), hn::And(is_number(a), is_number(b)));
      // A negative scale turns the two round.
      auto least = hn::Sub(hn::Min(a, b), of_tanh), most = hn::Add(hn::Max(a, b), of_tanh);
      if (of.logit.alibi_slopes) {
        const auto slope = hn::Set(tag, of.logit.alibi_slopes[h]);
        const auto nearest = hn::Load(tag, block.nearest + t), farthest = hn::Load(tag, block.farthest + t);
        const auto least_near = hn::NegMulAdd(slope, nearest, least), least_far = hn::NegMulAdd(slope, farthest, least);
        const auto most_near = hn::NegMulAdd(slope, nearest, most), most_far = hn::NegMulAdd(slope, farthest, most);
        known = hn::And(known, hn::And(hn::And(is_number(least_near), is_number(least_far)),
                                       hn::And(is_number(most_near), is_number(most_far))));
        least = hn::Min(least_near, least_far);
        most = hn::Max(most_near, most_far);
      }
      hn::Store(hn::IfThenElse(known, least, hn::Neg(infinite)), tag, low + h * kBlock + t);
      hn::Store(hn::IfThenElse(known, most, infinite), tag, high + h * kBlock + t);
    }
  }
}

/// Calls visit(j, n, low, high) for each up to kBlock pages from the j-th on of `count`: low and high, [g, kBlock], are
/// such that the canonical logit of each head with each key of the page lies between them; -infinity and infinity
/// where nothing is known: for a page without a box, a query that is not finite, or where sums may overflow.
/// page_at(j) is the j-th page. Reads 2 d bfloat16 of each.
template <class PageAt, class Visit>
void box_bounds(const BoxQuery& q, const PageBoxes& boxes, std::size_t count, const PageAt& page_at, Workspace& ws,
                const Visit& visit) {
  const BasicQuery<float>& of = *q.rows.query;
  float* low = ws.get<float>(Workspace::kBlockLogits, 2 * of.heads() * kBlock);
  float* high = low + of.heads() * kBlock;
  std::fill_n(low, 2 * of.heads() * kBlock, 0.0f);  // what is behind the last page is computed with, and not used
  ws.reads.index_bytes += count * (2 * boxes.key_dim() * sizeof(BF16) + sizeof(float));
  BoxBlock block[2];
  const auto fill = [&](std::size_t j, BoxBlock& b) {
    b.fill(boxes, of.position, [&](std::size_t t) { return page_at(j + t); }, std::min(kBlock, count - j));
  };
  if (count != 0) fill(0, block[0]);
  for (std::size_t j = 0, now = 0; j < count; j += kBlock, now = 1 - now) {
    const BoxBlock& b = block[now];
    const bool more = j + kBlock < count;
    if (more) fill(j + kBlock, block[1 - now]);
    dots(q.rows, b.centres, b.count, b.widths, low);
    dots(q.magnitudes, b.widths, b.count, block[more ? 1 - now : now].centres, high);
    spread_dots(q, b, low, high);
    spread_rule(q, b, low, high);
    visit(j, b.count, static_cast<const float*>(low), static_cast<const float*>(high));
  }
}

/// The bounds of the logits that `pool_max` makes of these. out: [kBlock]; `out_low` may be null.
HWY_INLINE void pool_bounds(std::size_t heads, const float* low, const float* high, float* out_low, float* out_high) {
  max_of_heads(high, kBlock, heads, kBlock, out_high);
  if (out_low) max_of_heads(low, kBlock, heads, kBlock, out_low);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_BOX_BOUNDS_INL_H_
