// SPDX-License-Identifier: Apache-2.0
// The positions whose keys are worth reading because they may be among the k largest: all that bounds cannot exclude.
#if defined(SKIM_INDEX_CANDIDATES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_CANDIDATES_INL_H_
#undef SKIM_INDEX_CANDIDATES_INL_H_
#else
#define SKIM_INDEX_CANDIDATES_INL_H_
#endif

#include <span>

#include "skim/index/branch_and_bound-inl.h"
#include "skim/index/ranked-inl.h"
#include "skim/index/scores-inl.h"
#include "skim/kernel/pool-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Lower and upper bounds of the pooled logits of the positions of a run.
struct Bounds {
  float* low = nullptr;
  float* high = nullptr;
};

/// Pooled bounds of the logits of the sketched positions of `within`, whose first is a multiple of kBlock: the true logit
/// of each (q, key), as `dots` and `apply_rule` round it, lies between them. A multiple of kBlock is written.
///
/// The canonical dot product differs from the sketch's estimate by at most
///   |q| |rest|                      what the key was rounded by
///   2 |q - row| reach               what the query was rounded by, here and for keys of int8
///   (d + 64) 2^-23 |q| reach        the rounding of both sums, of at most d + 64 steps each, and of scales
///   2^-126                          the same where products vanish
/// where reach is no less than |key|, |centre| and |key - centre + rest|. The rule that follows is monotone but for the
/// rounding of tanh.
inline void sketch_bounds(const BasicQuery<float>& q, const Sketch<8>& sketch, const SketchQueries& queries, Span within,
                   const Bounds& out, Workspace& ws) {
  const Tag<float> tag;
  const std::size_t heads = q.heads();
  float* s = ws.get<float>(Workspace::kBlockLogits, heads * 4 * kBlock);
  float* low_of = s + 2 * heads * kBlock;
  float* high_of = low_of + heads * kBlock;
  const BF16* rests = SketchAccess::rests(sketch).data();
  const float* reach = SketchAccess::reach(sketch).data();
  const float rounding = static_cast<float>(q.rows.cols + 64) * 0x1p-23f;
  const auto of_tanh = hn::Set(tag, static_cast<float>(q.logit.soft_cap) * 4e-6f);
  const auto infinite = hn::Set(tag, kInfinity<float>);
  ws.reads.index_bytes += scanned_bytes(sketch, within);
  scan(queries, heads, sketch, within, s, [&](Position first, float* dots_of, std::size_t rank) {
    const float far = reach[rank / sketch.segment()];
    for (std::size_t h = 0; h < heads; ++h) {
      const SketchQuery& of = queries.heads[h];
      const auto norm = hn::Set(tag, of.norm);
      // Where a sum may overflow on its way, here or in the logit, nothing is known: a NaN stays one under the rule.
      const bool known = of.norm * far < 1e37f && of.norm < 1e33f;
      const auto fixed = hn::Set(tag, known ? 2 * of.off * far + rounding * (of.norm * far) + 0x1p-126f
                                            : std::numeric_limits<float>::quiet_NaN());
      for (std::size_t t = 0; t < kBlock; t += kLanes<float>) {
        const auto x = hn::LoadU(tag, dots_of + h * kBlock + t);
        const auto off = hn::MulAdd(load_scales(rests + rank + t), norm, fixed);
        hn::StoreU(hn::Sub(x, off), tag, low_of + h * kBlock + t);
        hn::StoreU(hn::Add(x, off), tag, high_of + h * kBlock + t);
      }
    }
    apply_rule_from(q, first, low_of);
    apply_rule_from(q, first, high_of);
    for (std::size_t t = 0; t < kBlock; t += kLanes<float>) {
      auto low = hn::Neg(infinite), high = low;
      for (std::size_t h = 0; h < heads; ++h) {
        const auto a = hn::LoadU(tag, low_of + h * kBlock + t), b = hn::LoadU(tag, high_of + h * kBlock + t);
        const auto known = hn::And(hn::Eq(a, a), hn::Eq(b, b));
        // A negative scale turns the two round.
        low = hn::Max(low, hn::IfThenElse(known, hn::Sub(hn::Min(a, b), of_tanh), hn::Neg(infinite)));
        high = hn::Max(high, hn::IfThenElse(known, hn::Add(hn::Max(a, b), of_tanh), infinite));
      }
      hn::StoreU(low, tag, out.low + (first - within.first) + static_cast<Position>(t));
      hn::StoreU(high, tag, out.high + (first - within.first) + static_cast<Position>(t));
    }
  });
}

/// Of so many positions candidates are sought in a sample first. If these are more than kWorthAList of all, the bounds
/// say too little, and to read every key at once is faster.
constexpr std::size_t kWorthASample = 8192;
constexpr std::size_t kSampled = 16;  // one segment of so many
constexpr double kWorthAList = 0.2;

/// Whether a sample of segments says that the bounds leave few candidates for the k largest of the visible positions.
inline bool bounds_are_tight(const BasicQuery<float>& q, const Sketch<8>& sketch, const SketchQueries& queries, std::size_t k,
                             Workspace& ws) {
  const auto step = static_cast<Position>(sketch.segment());
  const auto visible = static_cast<std::size_t>(q.visible.size());
  if (visible < kWorthASample) return true;
  const Position first = (q.visible.first + step - 1) / step * step;
  const Position last = std::min(q.visible.last, sketch.sketched());
  const std::size_t most = visible / kSampled + 2 * sketch.segment();
  float* low = ws.get<float>(Workspace::kBounds, 2 * most);
  float* high = low + most;
  std::size_t count = 0;
  for (Position at = first; at + step <= last; at += step * static_cast<Position>(kSampled)) {
    sketch_bounds(q, sketch, queries, {at, at + step}, {low + count, high + count}, ws);
    count += sketch.segment();
  }
  if (count == 0) return true;
  const std::size_t among = std::clamp<std::size_t>(k * count / visible, 1, count);
  const float threshold = kth_largest(low, count, among, ws.get<float>(Workspace::kSurvivors, count));
  std::size_t candidates = 0;
  for (std::size_t i = 0; i < count; ++i) candidates += high[i] >= threshold ? 1u : 0u;
  return static_cast<double>(candidates) <= kWorthAList * static_cast<double>(count);
}

/// All unselected positions that may be among the k with the largest logits, ascending: those whose upper bound is no
/// less than the k-th largest lower bound. Empty when the bounds leave so many that reading all keys is no slower.
inline std::span<const Position> possible_largest(const Sketch<8>& sketch, std::size_t k, const BasicQuery<float>& q,
                                                  Selection& selection, Workspace& ws) {
  const SketchQueries queries = sketch_queries(q, sketch, ws);
  if (!bounds_are_tight(q, sketch, queries, k, ws)) return {};
  const Position aligned = q.visible.first / static_cast<Position>(kBlock) * static_cast<Position>(kBlock);
  const auto n = static_cast<std::size_t>(q.visible.last - aligned);
  const std::size_t room = round_up(n, kBlock);
  float* low = ws.get<float>(Workspace::kBounds, 2 * room);
  float* high = low + room;
  sketch_bounds(q, sketch, queries, {aligned, q.visible.last}, {low, high}, ws);
  const auto unbounded = [&](Position i) {
    low[i - aligned] = -kInfinity<float>;
    high[i - aligned] = kInfinity<float>;
  };
  for (Position i = std::max(sketch.sketched(), q.visible.first); i < q.visible.last; ++i) unbounded(i);
  for (const Position at : SketchAccess::unsketched(sketch)) {
    if (q.visible.contains(at)) unbounded(at);
  }
  std::size_t count = 0;
  for_each_gap(selection, q.visible, [&](Span gap) {
    const auto from = static_cast<std::size_t>(gap.first - aligned), size = static_cast<std::size_t>(gap.size());
    std::memmove(low + count, low + from, size * sizeof(float));
    std::memmove(high + count, high + from, size * sizeof(float));
    count += size;
  });
  const float threshold = largest(low, count, k, ws).least;
  auto* ranks = ws.get<std::size_t>(Workspace::kRanks, count);
  float* values = ws.get<float>(Workspace::kSurvivors, count);
  const std::size_t kept = keep_at_least(high, count, threshold, ranks, values);
  if (static_cast<double>(kept) > 2 * kWorthAList * static_cast<double>(count)) return {};
  return positions_of(ranks, kept, selection, q.visible, ws);
}

/// The same by the index that `kv` carries.
template <class Real, class Kv>
std::span<const Position> possible_largest(Source by, std::size_t k, const BasicQuery<Real>& q, const Kv& kv,
                                           Selection& selection, Workspace& ws) {
  std::span<const Position> result;
  [[maybe_unused]] const auto by_bounds = [&](const auto& index) {
    if constexpr (std::is_same_v<Real, float>) result = possible_largest(index, k, q, selection, ws);
  };
  switch (by) {
    case Source::kSketch8: with_carried<Sketch<8>>(kv, by_bounds); break;
    case Source::kBoxes:
      with_carried<PageBoxes>(kv, [&](const PageBoxes& boxes) {
        if constexpr (std::is_same_v<Real, float>) result = possible_largest(boxes, k, q, plain(kv), selection, ws);
      });
      break;
    default: fail_to_carry(by);
  }
  return result;
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_CANDIDATES_INL_H_
