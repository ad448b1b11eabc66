// SPDX-License-Identifier: Apache-2.0
// The scores of a source for every visible position: the exact logits, or what an index says of them. And what it says
// nothing of.
#if defined(SKIM_INDEX_SCORES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_INDEX_SCORES_INL_H_
#undef SKIM_INDEX_SCORES_INL_H_
#else
#define SKIM_INDEX_SCORES_INL_H_
#endif

#include <cmath>
#include <limits>
#include <string>

#include "skim/core/error.h"
#include "skim/index/box_bounds-inl.h"
#include "skim/index/external.h"
#include "skim/index/indexed_kv.h"
#include "skim/index/means-inl.h"
#include "skim/index/scan-inl.h"
#include "skim/index/visible_pages-inl.h"
#include "skim/kernel/pool-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Scores of `heads` query heads, or of one that speaks for all of the group.
template <class Real>
struct Scores {
  Logits<Real> of{};
  std::size_t heads = 0;
};

[[noreturn]] SKIM_COLD inline void fail_to_carry(Source source) {
  fail("skim::attend: the estimator goes by ", std::string(name_of(source)),
       ", which the KV does not carry (skim::with_index)");
}

/// Calls visit(index) with the index of type I that `kv` carries.
template <class I, class Kv, class Visit>
void with_carried(const Kv& kv, const Visit& visit) {
  if constexpr (kCarries<I, Kv>) {
    visit(index_of<I>(kv));
  } else {
    (void)kv, (void)visit;
    fail_to_carry(I::kSource);
  }
}

/// Exact logits of the positions `run` into s: [g, stride], of `run.first` on. A multiple of kBlock is written.
template <class Real, class Kv>
void score_run(const LaneQuery<Real>& lanes, const Kv& kv, Span run, Real* s, std::size_t stride, Workspace& ws) {
  const auto n = static_cast<std::size_t>(run.size());
  const auto fill = [&](std::size_t i, Block<Kv>& b) {
    fill_run(kv, run.first + static_cast<Position>(i), std::min(kBlock, n - i), b);
  };
  ws.reads.keys += n;
  score_blocks<Kv>(lanes, n, fill, s, stride, ws.get<Real>(Workspace::kBlockLogits, lanes.query->heads() * kBlock));
}

/// Where the scores of an index go: [g, stride], in the order of the visible positions. Whole blocks are written wherever
/// they start, so there is more room than positions.
template <class Real>
Logits<Real> score_room(const BasicQuery<Real>& q, std::size_t heads, Workspace& ws) {
  const std::size_t stride = round_up(static_cast<std::size_t>(q.visible.size()), kBlock) + 2 * kBlock;
  return {ws.get<Real>(Workspace::kIndexScores, heads * stride), stride, q.visible.first};
}

/// What a sketch says of its own keys among `within`, a part of the visible range. ws: of the thread that calls.
template <int kBits>
void sketch_part(const BasicQuery<float>& q, const SketchQueries& queries, const Sketch<kBits>& sketch, Span within,
                 float* all, std::size_t stride, Workspace& ws) {
  const std::size_t heads = q.heads();
  float* scratch = ws.get<float>(Workspace::kBlockLogits, heads * (kCodeBlock<kBits> + kBlock));
  ws.reads.index_bytes += scanned_bytes(sketch, within);
  scan(queries, heads, sketch, within, scratch, [&](Position first, float* s, std::size_t) {
    apply_rule_from(q, first, s);
    if (first >= within.first) {
      float* to = all + (first - q.visible.first);
      for (std::size_t h = 0; h < heads; ++h) std::memcpy(to + h * stride, s + h * kBlock, kBlock * sizeof(float));
      return;
    }
    const auto skip = static_cast<std::size_t>(within.first - first);  // the first block may start too early
    float* to = all + (within.first - q.visible.first);
    for (std::size_t h = 0; h < heads; ++h) {
      std::memcpy(to + h * stride, s + h * kBlock + skip, (kBlock - skip) * sizeof(float));
    }
  });
}

/// The exact logits of the keys that the sketch has not taken in.
template <int kBits, class Kv>
void score_unsketched(const BasicQuery<float>& q, const Kv& kv, const Sketch<kBits>& sketch, float* all,
                      std::size_t stride, Workspace& ws) {
  const std::size_t heads = q.heads();
  const LaneQuery<float> lanes = lane_query<typename Kv::Key>(q, ws);
  const Span tail = intersect({sketch.sketched(), sketch.size()}, q.visible);
  if (tail.size() > 0) score_run(lanes, kv, tail, all + (tail.first - q.visible.first), stride, ws);
  for (const Position at : SketchAccess::unsketched(sketch)) {
    if (!q.visible.contains(at)) continue;
    float* s = ws.get<float>(Workspace::kBounds, heads * kBlock);
    score_run(lanes, kv, Span{at, at + 1}, s, kBlock, ws);
    for (std::size_t h = 0; h < heads; ++h) all[h * stride + static_cast<std::size_t>(at - q.visible.first)] = s[h * kBlock];
  }
}

/// The score of what an index does not cover, where its scores are on a scale of their own (has_own_scale). No such
/// score is infinite for another reason.
constexpr float kNotCovered = kInfinity<float>;

/// What page means say: each position has the logit of its page's mean key. Not covered are the positions of pages that
/// are not complete or not visible as a whole, keys that the means leave out, and pages whose mean has no finite logit.
inline void mean_scores(const BasicQuery<float>& q, const PageMeans& means, float* all, std::size_t stride,
                        Workspace& ws) {
  const std::size_t heads = q.heads();
  const Span whole = means.whole_pages(q.visible);
  const auto fill = [&](std::size_t h, Span run, float score) {
    std::fill_n(all + h * stride + (run.first - q.visible.first), run.size(), score);
  };
  const auto leave = [&](Span run) {
    for (std::size_t h = 0; h < heads; ++h) fill(h, run, kNotCovered);
  };
  leave({q.visible.first, whole.first});
  leave({whole.last, q.visible.last});

  const PlacedMeans rows(means);
  const auto page = static_cast<Position>(means.page());
  const LaneQuery<float> lanes = lane_query<BF16>(q, ws);
  float* s = ws.get<float>(Workspace::kBlockLogits, heads * kBlock);
  Block<PlacedMeans> block;
  for (Position row = whole.first / page; row < whole.last / page; row += static_cast<Position>(kBlock)) {
    const auto count = static_cast<std::size_t>(std::min(static_cast<Position>(kBlock), whole.last / page - row));
    fill_list(rows, [row](std::size_t t) { return row + static_cast<Position>(t); }, count, block);
    ws.reads.index_bytes += count * means.key_dim() * sizeof(BF16);
    dots(lanes, block.keys, count, block.keys, s);
    apply_rule(q, block.positions, s);
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t t = 0; t < count; ++t) {
        const float x = s[h * kBlock + t];
        const Position first = (row + static_cast<Position>(t)) * page;
        fill(h, {first, first + page}, std::abs(x) < kInfinity<float> ? x : kNotCovered);
      }
    }
  }
  for (const Position i : means.left_out()) {
    if (whole.contains(i)) leave({i, i + 1});
  }
}

/// What boxes say: each position has the logit that the largest of its page is likely to reach, [g, stride]. Only a key
/// with the worst value in each of d channels reaches the upper bound; deviations of channels that know nothing of each
/// other add up to about 1 / sqrt(d) of that, which ranks pages better and is a better proposal. Not covered are pages
/// without a bound and the positions of a page that the query does not see to its end: so a query has the same scores
/// whether or not there are newer keys. K: the storage type of the keys.
template <class K>
void box_scores(const BasicQuery<float>& q, const PageBoxes& boxes, float* all, std::size_t stride, Workspace& ws) {
  const auto size = static_cast<Position>(boxes.page_size());
  const PageSet pages = pages_of(boxes, {q.visible.first, q.visible.last / size * size});
  const auto fill = [&](std::size_t h, Span run, float score) {
    std::fill_n(all + h * stride + (run.first - q.visible.first), run.size(), score);
  };
  const float reached = 1 / std::sqrt(static_cast<float>(q.rows.cols));
  box_bounds(box_query<K>(q, ws), boxes, pages.count, [&](std::size_t rank) { return pages.page(rank); }, ws,
             [&](std::size_t rank, std::size_t count, const float* low, const float* high) {
               for (std::size_t h = 0; h < q.heads(); ++h) {
                 for (std::size_t t = 0; t < count; ++t) {
                   const float top = high[h * kBlock + t], half = top / 2 - low[h * kBlock + t] / 2;
                   const float likely = top < kInfinity<float> ? top - half + half * reached : kNotCovered;
                   fill(h, intersect(pages.span(rank + t), q.visible), likely);
                 }
               }
             });
  const Position end = static_cast<Position>(pages.first + pages.count) * size;
  for (std::size_t h = 0; h < q.heads(); ++h) fill(h, {std::max(q.visible.first, end), q.visible.last}, kNotCovered);
}

/// The scores that the caller has brought for this query. NaN counts as the lowest finite one: below it is what may never
/// be selected.
template <class Real>
void external_scores(const BasicQuery<Real>& q, const ExternalScores& external, Real* all) {
  external.check_covers(q.position, q.position + 1);
  // Without a sign, for the difference may have no place in a Position.
  const std::size_t row = static_cast<std::size_t>(q.position) - static_cast<std::size_t>(external.first_query);
  const float* from = external.scores.row(row);
  for (Position i = q.visible.first; i < q.visible.last; ++i) {
    all[i - q.visible.first] = from[i] == from[i] ? static_cast<Real>(from[i]) : -std::numeric_limits<Real>::max();
  }
}

/// The scores of `source` over the visible range; `q` is resolved. Of the query that is being asked they are computed at
/// most once. They have no certain value beyond that range. Throws std::invalid_argument if `kv` does not carry the source.
template <class Real, class Kv>
Scores<Real> scores(Source source, const BasicQuery<Real>& q, const Kv& kv, Workspace& ws) {
  if (source == Source::kKeys) return {logits(q, kv, ws), q.heads()};
  const std::size_t heads = source == Source::kExternal ? 1 : q.heads();
  const Logits<Real> room = score_room(q, heads, ws);
  auto* all = const_cast<Real*>(room.data);
  const bool asked = ws.asked.is_of(&q, &plain(kv));
  if (asked && ws.asked.scored_by == source) return {room, heads};
  [[maybe_unused]] const auto by_sketch = [&](const auto& sketch) {
    if constexpr (std::is_same_v<Real, float>) {
      sketch_part(q, sketch_queries(q, sketch, ws), sketch, q.visible, all, room.stride, ws);
      score_unsketched(q, plain(kv), sketch, all, room.stride, ws);
    }
  };
  switch (source) {
    case Source::kSketch1: with_carried<Sketch<1>>(kv, by_sketch); break;
    case Source::kSketch4: with_carried<Sketch<4>>(kv, by_sketch); break;
    case Source::kSketch8: with_carried<Sketch<8>>(kv, by_sketch); break;
    case Source::kMeans:
      with_carried<PageMeans>(kv, [&](const PageMeans& means) {
        if constexpr (std::is_same_v<Real, float>) mean_scores(q, means, all, room.stride, ws);
      });
      break;
    case Source::kBoxes:
      with_carried<PageBoxes>(kv, [&](const PageBoxes& boxes) {
        if constexpr (std::is_same_v<Real, float>) box_scores<typename Kv::Key>(q, boxes, all, room.stride, ws);
      });
      break;
    case Source::kExternal:
      with_carried<ExternalScores>(kv, [&](const ExternalScores& external) { external_scores(q, external, all); });
      break;
    default: fail_to_carry(source);
  }
  ws.asked.scored_by = asked ? source : Source::kKeys;  // what was there is overwritten
  return {room, heads};
}

/// Selects, with weight 1, what is left of the positions that the index does not cover for every head, where these have
/// no score among those it covers (has_own_scale).
template <class Real>
void select_not_covered(const Scores<Real>& x, Span visible, Selection& selection) {
  const auto covered = [&](Position at) {
    for (std::size_t h = 0; h < x.heads; ++h) {
      if (!(x.of.of_head(h)[at - x.of.first] < kInfinity<Real>)) return false;
    }
    return true;
  };
  add_gaps(selection, visible, [&](Position at) { return !covered(at); });
  commit(selection);
}

/// One score a position from those of the heads, over what is not selected: the largest ...
template <class Real>
Pooled<Real> pool_max(const Scores<Real>& x, const Selection& selection, Span visible, Workspace& ws) {
  return pool_max(x.of, x.heads, selection, visible, ws);
}
/// ... and the log of the mean probability.
template <class Real>
Pooled<Real> pool_log_share(const Scores<Real>& x, const Selection& selection, Span visible, Workspace& ws) {
  return pool_log_share(x.of, x.heads, selection, visible, ws);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_INDEX_SCORES_INL_H_
