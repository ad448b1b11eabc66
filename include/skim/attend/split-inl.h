// SPDX-License-Identifier: Apache-2.0
// One row against one KV head, on all threads.
#if defined(SKIM_ATTEND_SPLIT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ATTEND_SPLIT_INL_H_
#undef SKIM_ATTEND_SPLIT_INL_H_
#else
#define SKIM_ATTEND_SPLIT_INL_H_
#endif

#include <span>

#include "skim/attend/attend-inl.h"
#include "skim/attend/many_rows-inl.h"
#include "skim/attend/options.h"
#include "skim/attend/run_tasks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// The logits of one unit, its keys spread over all threads. They stay in the first workspace.
template <class Real, class Kv>
const Real* score_split(const BasicQuery<Real>& q, const Kv& kv, std::span<Workspace> workspaces,
                        const Executor& executor) {
  const auto n = static_cast<std::size_t>(q.visible.size());
  const std::size_t stride = round_up(n, kBlock);
  constexpr auto kAtOnce = static_cast<std::size_t>(kChunk);  // a multiple of kBlock
  Workspace& own = workspaces[0];
  Real* all = own.get<Real>(Workspace::kLogits, q.heads() * stride);
  const LaneQuery<Real> lanes = lane_query<typename Kv::Key>(q, own);
  run_tasks(executor, (n + kAtOnce - 1) / kAtOnce, [&](std::size_t task, std::size_t worker) {
    const std::size_t first = task * kAtOnce, count = std::min(kAtOnce, n - first);
    const auto fill = [&](std::size_t i, Block<Kv>& b) {
      fill_run(kv, q.visible.first + static_cast<Position>(first + i), std::min(kBlock, count - i), b);
    };
    Real* scratch = workspaces[worker].template get<Real>(Workspace::kBlockLogits, q.heads() * kBlock);
    score_blocks<Kv>(lanes, count, fill, all + first, stride, scratch);
  });
  own.reads.keys += n;
  return all;
}

/// The same for what a sketch says. Returns the source that is known then: kKeys if it is none of a sketch.
template <class Kv>
Source scan_split(Sources wanted, const BasicQuery<float>& q, const Kv& kv, std::span<Workspace> workspaces,
                  const Executor& executor) {
  Source known = Source::kKeys;
  const auto try_sketch = [&]<int kBits>(std::integral_constant<int, kBits>) {
    using S = Sketch<kBits>;
    if constexpr (kCarries<S, Kv>) {
      if (wanted != sources_bit(S::kSource)) return;  // of two sources only one would be remembered
      constexpr auto kAtOnce = static_cast<Position>(kChunk);
      const S& sketch = index_of<S>(kv);
      Workspace& own = workspaces[0];
      const SketchQueries queries = sketch_queries(q, sketch, own);
      const Logits<float> room = score_room(q, q.heads(), own);
      auto* all = const_cast<float*>(room.data);
      // Cut where blocks of codes are, for a part writes whole blocks.
      const Position first = q.visible.first / kAtOnce * kAtOnce;
      const auto tasks = static_cast<std::size_t>((q.visible.last - first + kAtOnce - 1) / kAtOnce);
      run_tasks(executor, tasks, [&](std::size_t task, std::size_t worker) {
        const Position at = first + static_cast<Position>(task) * kAtOnce;
        sketch_part(q, queries, sketch, intersect({at, at + kAtOnce}, q.visible), all, room.stride, workspaces[worker]);
      });
      score_unsketched(q, plain(kv), sketch, all, room.stride, own);
      known = S::kSource;
    }
  };
  try_sketch(std::integral_constant<int, 1>());
  try_sketch(std::integral_constant<int, 4>());
  try_sketch(std::integral_constant<int, 8>());
  return known;
}

/// Sketches are of single precision.
template <class Kv>
Source scan_split(Sources, const BasicQuery<double>&, const Kv&, std::span<Workspace>, const Executor&) {
  return Source::kKeys;
}

/// `accumulate_list` with its chunks spread over all threads. Chunks and the order of their merge are the same, so the
/// bits are.
template <class Real, class Kv, class List>
void accumulate_list_split(const BasicQuery<Real>& q, const Kv& kv, const Selection& selection, const List& list,
                           const Logits<Real>& known, const BasicStateView<Real>& state,
                           std::span<Workspace> workspaces, const Executor& executor) {
  const std::size_t heads = q.heads();
  const std::size_t padded = round_up(kv.value_dim(), kStep<Real>);
  const std::size_t size = Partial<Real>::size(heads, padded);
  Workspace& own = workspaces[0];
  std::size_t count = 0;
  for_each_chunk(list, [&](const Chunk&) { ++count; });
  Chunk* chunks = own.get<Chunk>(Workspace::kChunks, count);
  Chunk* next = chunks;
  for_each_chunk(list, [&](const Chunk& chunk) { *next++ = chunk; });
  Real* memory = own.get<Real>(Workspace::kAccumulator, (count + 1) * size + finish_scratch(heads, padded));
  const LaneQuery<Real> lanes = lane_query<typename Kv::Key>(q, own);
  const Reading order = known.data == nullptr ? reading<typename Kv::Key>(heads) : kKnownReading;
  const auto total = Partial<Real>::at(memory + count * size, heads, padded);
  const auto sum_up = [&](const Normaliser<Real>* by) {
    run_tasks(executor, count, [&](std::size_t i, std::size_t worker) {
      Real* scratch = workspaces[worker].template get<Real>(Workspace::kBlockLogits, chunk_scratch(heads));
      accumulate_chunk(lanes, known, kv, selection, chunks[i], order,
                       Partial<Real>::at(memory + i * size, heads, padded), scratch, by);
    });
    total.clear(heads, padded);
    for (std::size_t i = 0; i < count; ++i) {
      merge_partial(total, Partial<Real>::at(memory + i * size, heads, padded), heads, padded);
    }
  };
  sum_up(nullptr);
  finish_in_range<typename Kv::Value>(total, padded, state, memory + (count + 1) * size,
                                      [&](const Normaliser<Real>& by) { sum_up(&by); });
}

/// One unit on all threads: for a layer with fewer units than threads.
template <class Real, class Kv>
void accumulate_split(const BasicQuery<Real>& q, const Kv& kv, const Selection& selection,
                      const BasicStateView<Real>& state, std::span<Workspace> workspaces, const Executor& executor) {
  const auto run = [&](const auto& rows, const auto& list, const Logits<Real>& known, const BasicStateView<Real>& to) {
    accumulate_list_split(q, rows, selection, list, known, to, workspaces, executor);
  };
  accumulate_by(run, q, kv, selection, state, workspaces[0]);
}

/// One unit on all threads: for a layer with fewer units than threads.
template <class E, class Layer>
void attend_split(const E& estimator, const Layer& layer, const RowRange& row, std::span<Workspace> workspaces,
                  const Options& options) {
  Workspace& ws = workspaces[0];
  const auto unit = layer.unit(row, ws);
  const auto& kv = *unit.kv;
  const Notes notes = layer.notes(options.record, layer.number(row), 0);
  std::size_t head = 0;
  for_each_selection(unit.query.resolved(kv.size()), unit.state, [&](const auto& q, const auto& out) {
    const Asking asking(q, kv, ws);
    if (reads_logits(estimator)) ws.asked.logits = score_split(q, plain(kv), workspaces, options.executor);
    ws.asked.scored_by = scan_split(scored_sources(estimator), q, kv, workspaces, options.executor);
    select_resolved(estimator, q, kv, ws.selection, ws);
    if (options.check) check_selection(ws.selection, q.visible, summary_rows(kv));
    notes.take(head++, ws.selection);
    accumulate_split(q, kv, ws.selection, out, workspaces, options.executor);
  });
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ATTEND_SPLIT_INL_H_
