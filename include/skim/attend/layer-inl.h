// SPDX-License-Identifier: Apache-2.0
// All heads, rows and sequences of a layer, on the caller's threads.
#if defined(SKIM_ATTEND_LAYER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ATTEND_LAYER_INL_H_
#undef SKIM_ATTEND_LAYER_INL_H_
#else
#define SKIM_ATTEND_LAYER_INL_H_
#endif

#include <atomic>
#include <exception>
#include <memory>

#include "skim/attend/attend-inl.h"
#include "skim/attend/check-inl.h"
#include "skim/attend/layer.h"
#include "skim/attend/many_rows-inl.h"
#include "skim/attend/options.h"
#include "skim/index/verify-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Runs task(i, worker) for each i on the executor, and throws here what a task has thrown.
template <class Task>
void run_tasks(const Executor& executor, std::size_t tasks, const Task& task) {
  if (executor.run == nullptr) {
    for (std::size_t i = 0; i < tasks; ++i) task(i, std::size_t{0});
    return;
  }
#if defined(__cpp_exceptions)
  struct Shared {
    const Task& task;
    std::atomic<bool> failed{false};
    std::exception_ptr error{};
  } shared{task};
  executor.run(
      executor.pool, tasks,
      [](void* arg, std::size_t i, std::size_t worker) {
        auto& all = *static_cast<Shared*>(arg);
        try {
          all.task(i, worker);
        } catch (...) {
          if (!all.failed.exchange(true)) all.error = std::current_exception();
        }
      },
      &shared);
  if (shared.error) std::rethrow_exception(shared.error);
#else
  executor.run(
      executor.pool, tasks,
      [](void* arg, std::size_t i, std::size_t worker) { (*static_cast<const Task*>(arg))(i, worker); },
      const_cast<void*>(static_cast<const void*>(&task)));
#endif
}

/// From so many rows of a sequence on its rows go through matrix products, where the estimator has a kernel for them.
constexpr std::size_t kFewestRowsAtOnce = 4;

/// A layer cut into ranges of rows: `count` of them, of which the last `singles` are single rows, one by one.
struct Tasks {
  const RowRange* ranges = nullptr;
  std::size_t count = 0;
  std::size_t singles = 0;

  std::size_t many() const { return count - singles; }
};

/// A layer call taken apart: one unit is one row of one sequence against one KV head.
template <class RealType, class KvType>
class Layer {
 public:
  using Real = RealType;
  using Kv = KvType;

  Layer(const BasicLayerQuery<Real>& query, const LayerKv<Kv>& kv, const BasicLayerState<Real>& state)
      : query_(query), kv_(kv), state_(state) {}

  std::size_t units() const { return query_.rows.rows * kv_.kv_heads; }
  std::size_t kv_heads() const { return kv_.kv_heads; }
  std::size_t sequences() const { return kv_.sequences(); }
  std::size_t group() const { return query_.rows.heads / kv_.kv_heads; }
  std::size_t selections_per_unit() const { return query_.grouping == Grouping::kPerHead ? group() : 1; }

  struct Unit {
    BasicQuery<Real> query;
    BasicStateView<Real> state;
    const Kv* kv = nullptr;
  };

  /// Rows of a sequence: [begin, end).
  RowRange rows_of(std::size_t sequence) const {
    if (!query_.row_begin.empty()) return {sequence, query_.row_begin[sequence], query_.row_begin[sequence + 1], 0};
    const std::size_t each = query_.rows.rows / kv_.sequences();
    return {sequence, sequence * each, (sequence + 1) * each, 0};
  }

  std::size_t sequence_of(std::size_t row) const {
    if (query_.row_begin.empty()) return row / (query_.rows.rows / kv_.sequences());
    const auto next = std::upper_bound(query_.row_begin.begin(), query_.row_begin.end(), row);
    return static_cast<std::size_t>(next - query_.row_begin.begin()) - 1;
  }

  /// Whether a sequence has enough rows for matrix products to win over rows one by one. It is asked of each sequence
  /// alone, so that no row's bits or time depend on what else is in the batch.
  bool has_many_rows(std::size_t sequence) const {
    const RowRange rows = rows_of(sequence);
    return rows.end - rows.begin >= kFewestRowsAtOnce;
  }

  /// Cuts all rows into what one thread takes at a time: ranges of about 256 query rows where `how` names a kernel for
  /// many rows and the sequence has many, then single rows. ranges: [units()].
  Tasks cut_rows(ManyRows how, RowRange* ranges) const {
    constexpr std::size_t kRowsAtOnce = 256;  // so many share each block of keys and values that is widened
    const std::size_t many = std::max<std::size_t>(1, kRowsAtOnce / group());
    Tasks tasks{ranges, 0, 0};
    for (const bool single : {false, true}) {
      for (std::size_t s = 0; s < sequences(); ++s) {
        if ((how == ManyRows::kNone || !has_many_rows(s)) != single) continue;
        const RowRange all = rows_of(s);
        const std::size_t step = single ? 1 : many;
        // Causal: the last rows take longest.
        for (std::size_t left = (all.end - all.begin + step - 1) / step; left-- > 0;) {
          const std::size_t r = all.begin + left * step;
          for (std::size_t h = 0; h < kv_heads(); ++h) ranges[tasks.count++] = {s, r, std::min(r + step, all.end), h};
        }
      }
      if (!single) tasks.singles = tasks.count;
    }
    tasks.singles = tasks.count - tasks.singles;
    return tasks;
  }

  /// `lse`: [g] scratch for a caller who does not want it.
  Unit unit(std::size_t i, Real* lse) const {
    const std::size_t row = i / kv_.kv_heads;
    const std::size_t kv_head = i % kv_.kv_heads;
    const std::size_t first_head = kv_head * group();
    const std::size_t sequence = sequence_of(row);
    const RowRange rows = rows_of(sequence);
    const Kv& kv = kv_.heads[sequence * kv_.kv_heads + kv_head];

    BasicQuery<Real> q;
    q.rows = query_.rows.group(row, first_head, group());
    // Negative when there are more rows than positions: the first rows then see nothing.
    q.position = first_position(sequence, kv) + static_cast<Position>(row - rows.begin);
    q.causal = query_.causal;
    if (!query_.visible.empty()) q.visible = query_.visible[row];
    q.logit = query_.logit;
    if (q.logit.alibi_slopes) q.logit.alibi_slopes += first_head;
    if (query_.sink_logits) q.sink_logits = query_.sink_logits + first_head;
    q.grouping = query_.grouping;
    q.stream = query_.stream;
    q.stream.head = static_cast<std::uint32_t>(query_.first_head / group() + kv_head);
    q.first_head = static_cast<std::uint32_t>(query_.first_head + first_head);
    q.stream.sequence = query_.sequence_ids.empty() ? sequence : query_.sequence_ids[sequence];
    Real* lse_out = state_.lse_of(row, first_head);
    return {q, {state_.out.group(row, first_head, group()), lse_out ? lse_out : lse, 1}, &kv};
  }

  /// The position of the first row of a sequence.
  Position first_position(std::size_t sequence, const Kv& kv) const {
    if (!query_.first_position.empty()) return query_.first_position[sequence];
    const RowRange rows = rows_of(sequence);
    return kv.size() - static_cast<Position>(rows.end - rows.begin);
  }

  const Kv& kv(std::size_t sequence, std::size_t kv_head) const { return kv_.heads[sequence * kv_.kv_heads + kv_head]; }
  double sink_logit(std::size_t q_head) const { return static_cast<double>(query_.sink_logits[q_head]); }

  /// Makes `record` ready for the selections of all units.
  void begin(SelectionRecord& record, std::size_t workers) const {
    Position most = 0;
    for (const Kv& kv : kv_.heads) most = std::max(most, kv.size());
    begin_record(record, query_.rows.rows, kv_heads(), selections_per_unit(), most, workers);
  }

  /// Where unit i is written down.
  Notes notes(SelectionRecord* record, std::size_t i, std::size_t worker) const {
    return {record, i * selections_per_unit(), worker};
  }

  /// Throws std::invalid_argument when queries, keys and values do not fit together.
  void check_asked(Workspace& ws) const { check_layer_asked(query_, kv_, ws); }
  /// The same, and that the state does.
  void check(Workspace& ws) const { check_layer(query_, kv_, state_, ws); }

  /// Throws std::invalid_argument when the KV does not carry what the estimator goes by, and when a record is wanted of
  /// something that it cannot hold.
  template <class E>
  void check_estimator(const E& estimator, bool recorded) const {
    check_sources<Kv>(estimator);
    for (const Kv& one : kv_.heads) check_indexes(estimator, one);
    if ((sources(estimator) & sources_bit(Source::kExternal)) != 0) check_external();
    if (recorded && leaves_summaries(estimator)) {
      fail("skim::attend: a record holds positions but `summaries` stands for pages, by their means");
    }
  }

  /// Throws std::invalid_argument when an index is not as long as its keys, whatever the options; and, if they are strict,
  /// when some of what it has seen is not what is there now.
  void check_beside(bool strict) const {
    for (const Kv& kv : kv_.heads) check_indexes_cover(kv);
    if (!strict) return;
    for (std::size_t i = 0; i < kv_.heads.size(); ++i) {
      Stream stream = query_.stream;
      stream.head = static_cast<std::uint32_t>(i);
      verify_some(i, kv_.heads[i], Draws(stream, kv_.heads[i].size()));
    }
  }

  /// Throws std::invalid_argument when the caller's scores leave out one of the rows.
  void check_external() const {
    if constexpr (kCarries<ExternalScores, Kv>) {
      for (std::size_t i = 0; i < kv_.heads.size(); ++i) {
        const Kv& kv = kv_.heads[i];
        const RowRange rows = rows_of(i / kv_.kv_heads);
        const Position first = first_position(i / kv_.kv_heads, kv);
        index_of<ExternalScores>(kv).check_covers(std::max<Position>(0, first),
                                                  first + static_cast<Position>(rows.end - rows.begin));
      }
    }
  }

 private:
  const BasicLayerQuery<Real>& query_;
  const LayerKv<Kv>& kv_;
  const BasicLayerState<Real>& state_;
};

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
  using Real = typename Layer::Real;
  Workspace& ws = workspaces[0];
  const std::size_t number = row.begin * layer.kv_heads() + row.kv_head;
  const auto unit = layer.unit(number, ws.template get<Real>(Workspace::kUnwantedLse, layer.group()));
  const auto& kv = *unit.kv;
  const Notes notes = layer.notes(options.record, number, 0);
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

/// Attention of a whole layer: every query head, row and sequence over the positions `estimator` selects.
/// Query head h reads KV head h / (q_heads / kv_heads). Every row of state.out is overwritten.
///
/// Equal inputs and streams give equal bits on any number of threads, in any batch and batch order (with sequence_ids),
/// on any page size, and however the caller splits heads between calls (with first_head). Rows of a sequence in one call
/// have the bits of calls a row each, but for `Dense` with 4 rows or more, which are multiplied as matrices and differ from
/// single rows by rounding; Options::row_invariant gives them the bits of single rows too.
///
/// Allocates nothing after warm-up when options bring workspaces.
/// Throws std::invalid_argument, before anything is written, on shapes and parameters that do not fit; what is data, and
/// what it gives, is in core/validate.h. When memory runs out (or a thread throws) some rows of state may have been
/// written; call again with the same workspaces when there is some.
template <Estimator E, class Real, class Kv>
void attend(const E& estimator, const BasicLayerQuery<Real>& query, const LayerKv<Kv>& kv,
            const BasicLayerState<Real>& state, const Options& options = {}) {
  static_assert(KvHead<Kv>, "skim: keys and values come as a KvHead: ContiguousKv, PagedKv or a type like them");
  const std::size_t threads = std::max<std::size_t>(1, options.executor.threads);
  std::unique_ptr<Workspace[]> own;
  std::span<Workspace> workspaces = options.workspaces;
  if (workspaces.empty()) {
    own = std::make_unique<Workspace[]>(threads);
    workspaces = {own.get(), threads};
  }
  const Layer<Real, Kv> layer(query, kv, state);
  if (options.check) {
    check_executor(options.executor);
    if (workspaces.size() < threads) {
      fail("skim::attend: ", workspaces.size(), " workspaces but the executor has ", threads, " threads");
    }
    layer.check(workspaces[0]);
    layer.check_estimator(estimator, options.record != nullptr);
  }
  layer.check_beside(options.strict);
  SelectionRecord* record = options.record;
  if (record != nullptr) layer.begin(*record, threads);
  if (layer.units() == 0) return;

  ManyRows how = many_rows_kernel(estimator);
  if (how == ManyRows::kDense && options.row_invariant) how = ManyRows::kNone;
  auto* ranges = workspaces[0].template get<RowRange>(Workspace::kRowRanges, layer.units());
  const Tasks tasks = layer.cut_rows(how, ranges);
  // Too few for all threads: then all work at one row at a time.
  const bool split = threads > 1 && tasks.count < 2 * threads;
  run_tasks(options.executor, split ? tasks.many() : tasks.count, [&](std::size_t i, std::size_t worker) {
    const RowRange& range = tasks.ranges[i];
    Workspace& ws = workspaces[worker];
    if (i < tasks.many()) {
      if (how == ManyRows::kDense) return prefill(layer, range, ws, record, worker);
      return attend_largest(estimator, layer, range, ws, options.check, record, worker);
    }
    const std::size_t number = range.begin * layer.kv_heads() + range.kv_head;
    const auto unit = layer.unit(number, ws.template get<Real>(Workspace::kUnwantedLse, layer.group()));
    attend_unchecked(estimator, unit.query, *unit.kv, unit.state, ws, options.check, layer.notes(record, number, worker));
  });
  for (std::size_t i = tasks.many(); split && i < tasks.count; ++i) {
    attend_split(estimator, layer, tasks.ranges[i], workspaces, options);
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ATTEND_LAYER_INL_H_
