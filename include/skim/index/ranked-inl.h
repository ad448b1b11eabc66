// SPDX-License-Identifier: Apache-2.0
// The positions that an index ranks first.
//
// A sketch is read so fast that to write a score for each key, pool it and look through it again takes as long as the
// scan. Of many keys only those survive the scan that reach a threshold read off a sample; should these be too few, all
// scores are computed after all.
#if defined(SKIM_INDEX_RANKED_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_RANKED_INL_H_
#undef SKIM_INDEX_RANKED_INL_H_
#else
#define SKIM_INDEX_RANKED_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <span>

#include "skim/index/scores-inl.h"
#include "skim/kernel/pool-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Ascending ranks among the unselected positions become positions, in the workspace.
inline std::span<const Position> positions_of(const std::size_t* ranks, std::size_t count, Selection& selection,
                                              Span visible, Workspace& ws) {
  Position* positions = ws.get<Position>(Workspace::kCandidates, count);
  for_each_rank(selection, visible, ranks, count, [&](std::size_t j, Position at) { positions[j] = at; });
  return {positions, count};
}

/// From so many positions on, a scan keeps survivors only.
constexpr std::size_t kWorthAStream = 16384;

/// Keys with their pooled scores, in ascending order of position.
struct Survivors {
  Position* positions = nullptr;
  float* scores = nullptr;
  std::size_t count = 0;
};

/// Pooled scores of sixteen keys from s, [g, kBlock], into out.
HWY_INLINE void pool_block(const float* s, std::size_t heads, float* out) {
  const Tag<float> tag;
  for (std::size_t t = 0; t < kBlock; t += kLanes<float>) {
    auto top = nan_to_least<float>(hn::LoadU(tag, s + t));
    for (std::size_t h = 1; h < heads; ++h) top = hn::Max(top, nan_to_least<float>(hn::LoadU(tag, s + h * kBlock + t)));
    hn::StoreU(top, tag, out + t);
  }
}

/// Pooled scores of the sketched positions of `within`, whose first is a multiple of kCodeBlock, into out: multiples of
/// kBlock of them.
template <int kBits>
void pooled_scores(const BasicQuery<float>& q, const SketchQueries& queries, const Sketch<kBits>& sketch, Span within,
                   float* out, Workspace& ws) {
  const std::size_t heads = q.heads();
  float* scratch = ws.get<float>(Workspace::kBlockLogits, heads * (kCodeBlock<kBits> + kBlock));
  scan(queries, heads, sketch, within, scratch, [&](Position first, float* s, std::size_t) {
    apply_rule_from(q, first, s);
    pool_block(s, heads, out + (first - within.first));
  });
}

/// What about `wanted` of the visible positions reach, read off a sample of those that are sketched; rather too low, since
/// neighbours may be alike and a sample is made of runs of them. -infinity if a sample says nothing.
template <int kBits>
float likely_threshold(const BasicQuery<float>& q, const SketchQueries& queries, const Sketch<kBits>& sketch,
                       std::size_t wanted, Workspace& ws) {
  constexpr std::size_t kRuns = 64, kRun = 64;  // whole blocks of codes
  const Position sketched = intersect(q.visible, {0, sketch.sketched()}).size();
  if (sketched < static_cast<Position>(2 * kRuns * kRun)) return -kInfinity<float>;  // long segments: most is tail
  const auto first = static_cast<std::size_t>(q.visible.first);
  const std::size_t step = static_cast<std::size_t>(sketched) / kRuns;
  const auto run = [&](std::size_t r) {
    const std::size_t jitter = (r * 0x9E3779B97F4A7C15u >> 32) % (step - kRun);  // periodic keys would fool a comb
    const auto at = static_cast<Position>((first + r * step + jitter + kRun - 1) / kRun * kRun);
    return Span{at, at + static_cast<Position>(kRun)};
  };
  constexpr std::size_t kAhead = 4;
  float* sample = ws.get<float>(Workspace::kSurvivors, 2 * kRuns * kRun);
  for (std::size_t r = 0; r < kAhead; ++r) prefetch_codes(sketch, run(r));
  for (std::size_t r = 0; r < kRuns; ++r) {
    if (r + kAhead < kRuns) prefetch_codes(sketch, run(r + kAhead));
    pooled_scores(q, queries, sketch, run(r), sample + r * kRun, ws);
  }
  const double expected = static_cast<double>(wanted) * static_cast<double>(kRuns * kRun) / static_cast<double>(q.visible.size());
  const double rank = 1.2 * expected + 4 * std::sqrt(4 * expected) + 4;
  if (!(rank < static_cast<double>(kRuns * kRun))) return -kInfinity<float>;
  return kth_largest(sample, kRuns * kRun, static_cast<std::size_t>(rank), sample + kRuns * kRun);
}

/// All sketched positions of the visible range whose pooled score reaches the threshold, and all of the tail.
template <int kBits, class Kv>
Survivors scan_survivors(const BasicQuery<float>& q, const SketchQueries& queries, const Kv& kv, const Sketch<kBits>& sketch,
                         float threshold, Workspace& ws) {
  constexpr Position kAtOnce = 4096;  // scores that stay in the first-level cache
  const std::size_t heads = q.heads(), n = static_cast<std::size_t>(q.visible.size());
  auto* positions = ws.get<Position>(Workspace::kChosen, n + kAtOnce);
  float* kept = ws.get<float>(Workspace::kBounds, n + kAtOnce);
  float* pooled = ws.get<float>(Workspace::kSurvivors, kAtOnce + kBlock);
  std::size_t count = 0;
  ws.reads.index_bytes += scanned_bytes(sketch, q.visible);
  const Position end = std::min(q.visible.last, sketch.sketched());
  for (Position at = q.visible.first / kAtOnce * kAtOnce; at < end; at += kAtOnce) {
    const Position aligned = std::max(at, q.visible.first) / 64 * 64;
    const Span part = intersect({at, at + kAtOnce}, {q.visible.first, end});
    pooled_scores(q, queries, sketch, {aligned, part.last}, pooled, ws);
    static_assert(sizeof(Position) == sizeof(std::size_t));
    auto* ranks = reinterpret_cast<std::size_t*>(positions + count);
    const std::size_t more = keep_at_least(pooled + (part.first - aligned), static_cast<std::size_t>(part.size()), threshold,
                                           ranks, kept + count);
    for (std::size_t i = 0; i < more; ++i) positions[count + i] = part.first + static_cast<Position>(ranks[i]);
    count += more;
  }
  const Span tail = intersect({std::max(sketch.sketched(), q.visible.first), sketch.size()}, q.visible);
  if (tail.size() > 0) {
    const auto in_tail = static_cast<std::size_t>(tail.size());
    const std::size_t stride = round_up(in_tail, kBlock);
    float* s = ws.get<float>(Workspace::kShortlist, heads * stride);
    score_run(lane_query<typename Kv::Key>(q, ws), kv, tail, s, stride, ws);
    max_of_heads(s, stride, heads, in_tail, kept + count);
    for (Position at = tail.first; at < tail.last; ++at) positions[count++] = at;
  }
  return {positions, kept, count};
}

/// The `count` unselected positions that the sketch ranks first, in one pass; nothing if that needs all scores.
template <int kBits, class Kv>
std::span<const Position> streamed_first(const BasicQuery<float>& q, const Kv& kv, const Sketch<kBits>& sketch,
                                         std::size_t count, const Selection& selection, Workspace& ws) {
  for (const Position at : SketchAccess::unsketched(sketch)) {
    if (q.visible.contains(at)) return {};
  }
  const auto n = static_cast<std::size_t>(q.visible.size());
  const SketchQueries queries = sketch_queries(q, sketch, ws);
  // Earlier stages may have selected the best.
  const std::size_t taken = n - static_cast<std::size_t>(count_gaps(selection, q.visible));
  if (count + taken > n / 4) return {};
  const float threshold = likely_threshold(q, queries, sketch, count + taken, ws);
  if (threshold == -kInfinity<float>) return {};
  Survivors s = scan_survivors(q, queries, kv, sketch, threshold, ws);
  std::size_t left = s.count;
  if (taken > 0) {
    std::size_t next = 0;
    left = 0;
    for_each_gap(selection, q.visible, [&](Span gap) {
      while (next < s.count && s.positions[next] < gap.first) ++next;
      for (; next < s.count && s.positions[next] < gap.last; ++next) {
        s.positions[left] = s.positions[next];
        s.scores[left++] = s.scores[next];
      }
    });
  }
  // The tail survives whatever it scores: only what reaches the threshold is sure to be among the first.
  const std::size_t sure = count_at_least(s.scores, left, threshold);
  if (sure < count) return {};
  const Largest<float> top = largest(s.scores, left, count, ws);
  Position* positions = ws.get<Position>(Workspace::kCandidates, count);
  for (std::size_t j = 0; j < count; ++j) positions[j] = s.positions[top.ranks[j]];
  return {positions, count};
}

/// x[0 .. n) turned round.
template <class T>
void turn_round(T* x, std::size_t n) {
  for (std::size_t i = 0; i + 1 < n - i; ++i) {
    const T last = x[n - 1 - i];
    x[n - 1 - i] = x[i];
    x[i] = last;
  }
}

/// The ranks of the first `count` positions of an index that scores whole pages, ascending: on top of them come those it
/// does not cover, and of a page that does not fit in the newest ones. x is overwritten.
template <class Real>
Largest<Real> first_of_pages(const Pooled<Real>& x, std::size_t count, Workspace& ws) {
  count += count_at_least(x.scores, x.count, static_cast<Real>(kNotCovered));
  turn_round(x.scores, x.count);  // ties go to the lower rank
  const Largest<Real> top = largest(x.scores, x.count, std::min(count, x.count), ws);
  for (std::size_t j = 0; j < top.count; ++j) top.ranks[j] = x.count - 1 - top.ranks[j];
  turn_round(top.ranks, top.count);
  return top;
}

/// The `count` unselected positions that the index ranks first, ascending; fewer if there are fewer. Those that it cannot
/// rank (has_own_scale) come on top of them; what the caller's scores rule out is not among them.
template <class Real, class Kv>
std::span<const Position> ranked_first(Source by, std::size_t count, const BasicQuery<Real>& q, const Kv& kv,
                                       Selection& selection, Workspace& ws) {
  const bool known = ws.asked.scored_by == by || (ws.asked.scored_later & sources_bit(by)) != 0;
  if (std::is_same_v<Real, float> && !known && static_cast<std::size_t>(q.visible.size()) >= kWorthAStream) {
    std::span<const Position> first;
    [[maybe_unused]] const auto stream = [&](const auto& sketch) {
      if constexpr (std::is_same_v<Real, float>) first = streamed_first(q, plain(kv), sketch, count, selection, ws);
    };
    if (by == Source::kSketch1) with_carried<Sketch<1>>(kv, stream);
    if (by == Source::kSketch4) with_carried<Sketch<4>>(kv, stream);
    if (by == Source::kSketch8) with_carried<Sketch<8>>(kv, stream);
    if (!first.empty()) return first;
  }
  const Pooled<Real> x = pool_max(scores(by, q, kv, ws), selection, q.visible, ws);
  Largest<Real> top = has_own_scale(by) ? first_of_pages(x, count, ws)
                                        : largest(x.scores, x.count, std::min(count, x.count), ws);
  if (by == Source::kExternal && top.least == -kInfinity<Real>) {
    const std::size_t* end = std::remove_if(top.ranks, top.ranks + top.count,
                                            [&x](std::size_t r) { return x.scores[r] == -kInfinity<Real>; });
    top.count = static_cast<std::size_t>(end - top.ranks);
  }
  return positions_of(top.ranks, top.count, selection, q.visible, ws);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_RANKED_INL_H_
