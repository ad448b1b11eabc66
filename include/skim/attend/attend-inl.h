// SPDX-License-Identifier: Apache-2.0
// One query group against one KV head: the three verbs, and the call that does them all.
#if defined(SKIM_ATTEND_ATTEND_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ATTEND_ATTEND_INL_H_
#undef SKIM_ATTEND_ATTEND_INL_H_
#else
#define SKIM_ATTEND_ATTEND_INL_H_
#endif

#include <optional>
#include <utility>

#include "skim/attend/nan_heads-inl.h"
#include "skim/core/record.h"
#include "skim/core/validate.h"
#include "skim/estimator/stack-inl.h"
#include "skim/estimator/stage_list-inl.h"
#include "skim/index/means-inl.h"
#include "skim/kernel/accumulate-inl.h"
#include "skim/kernel/merge-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// What `estimator` selects for a resolved query, into `selection`.
template <class E, class Real, class Kv>
void select_resolved(const E& estimator, const BasicQuery<Real>& q, const Kv& kv, Selection& selection, Workspace& ws) {
  selection.clear();
  const auto run = [&](const BasicQuery<Real>& asked) {
    Select<E>::run(estimator, asked, kv, selection, ws);
    select_nan_if_alone(asked, kv, selection, ws);
  };
  if (const std::optional<BasicQuery<Real>> some = heads_that_select(q, ws)) {
    const Asked of_all = std::exchange(ws.asked, {});
    {
      const Asking asking(*some, kv, ws);
      run(*some);
    }
    ws.asked.query = of_all.query;  // of which nothing is known any more
    ws.asked.kv = of_all.kv;
  } else {
    run(q);
  }
  commit(selection);
}

/// Notes what is about to be read.
inline void count_reads(const Selection& selection, bool logits_known, Workspace& ws) {
  const auto rows = static_cast<std::uint64_t>(count_selected(selection));
  ws.reads.values += rows;
  if (!logits_known) ws.reads.keys += rows;
}

/// Attention of a resolved query over the rows of `kv` in `list`: `selection` itself, or the summaries in it. `known`: the
/// logits of all that is visible, if somebody has computed them.
template <class Real, class Kv, class List>
void accumulate_list(const BasicQuery<Real>& q, const Kv& kv, const Selection& selection, const List& list,
                     const Logits<Real>& known, const BasicStateView<Real>& state, Workspace& ws) {
  const std::size_t heads = q.heads();
  const std::size_t padded = round_up(kv.value_dim(), kStep<Real>);
  const std::size_t size = Partial<Real>::size(heads, padded);
  Real* memory = ws.get<Real>(Workspace::kAccumulator, 2 * size + finish_scratch(heads, padded));
  const auto total = Partial<Real>::at(memory, heads, padded);
  const auto part = Partial<Real>::at(memory + size, heads, padded);
  Real* scratch = ws.get<Real>(Workspace::kBlockLogits, chunk_scratch(heads));
  const LaneQuery<Real> lanes = lane_query<typename Kv::Key>(q, ws);
  const Reading order = known.data == nullptr ? reading<typename Kv::Key>(heads) : kKnownReading;
  const auto sum_up = [&](const Normaliser<Real>* by) {
    total.clear(heads, padded);
    for_each_chunk(list, [&](const Chunk& chunk) {
      accumulate_chunk(lanes, known, kv, selection, chunk, order, part, scratch, by);
      merge_partial(total, part, heads, padded);
    });
  };
  sum_up(nullptr);
  finish_in_range<typename Kv::Value>(total, padded, state, memory + 2 * size,
                                      [&](const Normaliser<Real>& by) { sum_up(&by); });
}

/// Attention of a resolved query over `selection`, then merged with what its summaries stand for, then with the sink
/// logits. Logits that selecting has left in the workspace are used again. run(kv, list, known, state) does what
/// `accumulate_list` does.
template <class Real, class Kv, class Run>
void accumulate_by(const Run& run, const BasicQuery<Real>& q, const Kv& kv, const Selection& selection,
                   const BasicStateView<Real>& state, Workspace& ws) {
  const Logits<Real> known = known_logits(q, kv, ws);
  count_reads(selection, known.data != nullptr, ws);
  run(plain(kv), selection, known, state);
  write_nan_heads(q, state);
  if constexpr (std::is_same_v<Real, float> && kCarries<PageMeans, Kv>) {
    const auto& summaries = selection.summaries();
    if (!summaries.empty()) {
      const PlacedMeans means(index_of<PageMeans>(kv));
      ws.reads.index_bytes += summaries.size() * (means.key_dim() + means.value_dim()) * sizeof(BF16);
      const std::size_t heads = q.heads(), cols = means.value_dim();
      Real* out = ws.get<Real>(Workspace::kSummaries, heads * (cols + 1));
      const BasicStateView<Real> rest{{out, heads, cols}, out + heads * cols};
      run(means, summaries, Logits<Real>{}, rest);
      merge_into(state, rest);
    }
  }
  merge_sinks(q, state);
}

template <class Real, class Kv>
void accumulate(const BasicQuery<Real>& q, const Kv& kv, const Selection& selection,
                const BasicStateView<Real>& state, Workspace& ws) {
  const auto run = [&](const auto& rows, const auto& list, const Logits<Real>& known, const BasicStateView<Real>& to) {
    accumulate_list(q, rows, selection, list, known, to, ws);
  };
  accumulate_by(run, q, kv, selection, state, ws);
}

/// Rows of page means that a selection may name: none if `kv` carries no table of them.
template <class Kv>
Position summary_rows(const Kv& kv) {
  if constexpr (kCarries<PageMeans, Kv>) {
    return static_cast<Position>(index_of<PageMeans>(kv).pages());
  } else {
    (void)kv;
    return 0;
  }
}

/// Splits a query into the groups that select together, and calls visit(query, state) for each.
template <class Real, class Visit>
void for_each_selection(const BasicQuery<Real>& q, const BasicStateView<Real>& state, const Visit& visit) {
  if (q.grouping == Grouping::kPerGroup) return visit(q, state);
  for (std::size_t h = 0; h < q.heads(); ++h) visit(q.head(h), state.head(h));
}

/// Where the selections of one unit are written down: in a record from one entry on, by one worker. Nowhere by default.
struct Notes {
  SelectionRecord* record = nullptr;
  std::size_t entry = 0;
  std::size_t worker = 0;

  void take(std::size_t head, const Selection& selection) const {
    if (record != nullptr) write_down(*record, entry + head, selection, worker);
  }
  void take(std::size_t head, Span span) const {
    if (record != nullptr) write_down(*record, entry + head, span, worker);
  }
};

/// Select and accumulate, without a check of shapes.
template <class E, class Real, class Kv>
void attend_unchecked(const E& estimator, const BasicQuery<Real>& query, const Kv& kv,
                      const BasicStateView<Real>& state, Workspace& ws, bool check, const Notes& notes = {}) {
  std::size_t head = 0;
  for_each_selection(query.resolved(kv.size()), state, [&](const BasicQuery<Real>& q, const BasicStateView<Real>& out) {
    const Asking asking(q, kv, ws);
    select_resolved(estimator, q, kv, ws.selection, ws);
    if (check) check_selection(ws.selection, q.visible, summary_rows(kv));
    notes.take(head++, ws.selection);
    accumulate(q, kv, ws.selection, out, ws);
  });
}

template <class Real, class Kv>
void check_call(const BasicQuery<Real>& q, const Kv& kv, Workspace& ws) {
  static_assert(KvHead<Kv>, "skim: keys and values come as a KvHead: ContiguousKv, PagedKv or a type like them");
  static_assert(kIsStorage<typename Kv::Key, Real> && kIsStorage<typename Kv::Value, Real>,
                "skim: float queries go with keys and values in float, F16, BF16 or I8; double with double");
  check_kv(kv, ws.page_marks);
  check_query(q, kv);
}

/// Throws on parameters out of range, and when the estimator goes by an index that the KV does not carry, or ranks by one
/// that ranks nothing.
template <class Kv, class E>
void check_sources(const E& estimator) {
  estimator.validate();
  const Sources missing = sources(estimator) & ~CarriedSources<Kv>::value, scored = scored_sources(estimator);
  for (std::size_t i = 0; i < static_cast<std::size_t>(Source::kSources); ++i) {
    const auto source = static_cast<Source>(i);
    if ((missing & sources_bit(source)) != 0) fail_to_carry(source);
    if (!ranks(source) && (scored & sources_bit(source)) != 0) {
      fail("skim::attend: the estimator ranks by ", std::string(name_of(source)), ", which ranks nothing");
    }
  }
}

/// The positions `estimator` selects for a query group, without attending to them.
/// q: [g, d] rows of one group at one position. kv: n positions. The three verbs in a row,
/// `attend(select(e, q, kv), q, kv)`, give the bits of the fused call under per-group selection; for
/// selections per head call it with q.head(h).
/// Throws std::invalid_argument on mismatched shapes and on parameters out of range.
template <class E, class Real, class Kv>
Selection select(const E& estimator, const BasicQuery<Real>& q, const Kv& kv) {
  Workspace ws;
  check_call(q, kv, ws);
  check_sources<Kv>(estimator);
  check_indexes(estimator, kv);
  Selection selection;
  const BasicQuery<Real> resolved = q.resolved(kv.size());
  const Asking asking(resolved, kv, ws);
  select_resolved(estimator, resolved, kv, selection, ws);
  check_selection(selection, resolved.visible, summary_rows(kv));
  return selection;
}

/// Attention of a query group over a selection, the caller's own or one from `select`.
/// state.out: [g, d_v], overwritten. state.lse: [g], natural log of the (estimated) denominator.
/// An empty selection gives out = 0, lse = -inf. Throws std::invalid_argument on mismatched shapes and on a
/// selection that is not ascending, disjoint and visible, or has a log weight that is not finite, or has summaries where
/// `kv` carries no `PageMeans`.
template <class Real, class Kv>
void attend(const Selection& selection, const BasicQuery<Real>& q, const Kv& kv, const BasicStateView<Real>& state,
            Workspace& ws) {
  check_call(q, kv, ws);
  check_state(state, q, kv);
  const BasicQuery<Real> resolved = q.resolved(kv.size());
  check_selection(selection, resolved.visible, summary_rows(kv));
  const Asking asking(resolved, kv, ws);
  accumulate(resolved, kv, selection, state, ws);
}

/// Attention of a GQA group of queries over the positions `estimator` selects.
/// q: [g, d], one row per query head sharing this KV head. kv: n positions of [d] keys, [d_v] values.
/// state.out: [g, d_v], overwritten. state.lse: [g], natural log of the (estimated) denominator.
/// Reads selected keys and values once; allocates only while `ws` grows. out and lse must not overlap each other, q or kv.
/// An empty selection gives out = 0, lse = -inf, but NaN for a head whose row of q holds one and that sees a position; what
/// numbers that are not finite give is in core/validate.h. Throws std::invalid_argument on mismatched shapes.
template <Estimator E, class Real, class Kv>
void attend(const E& estimator, const BasicQuery<Real>& q, const Kv& kv, const BasicStateView<Real>& state,
            Workspace& ws) {
  check_call(q, kv, ws);
  check_state(state, q, kv);
  check_sources<Kv>(estimator);
  check_indexes(estimator, kv);
  attend_unchecked(estimator, q, kv, state, ws, true);
}

/// The same, into a state of its own: for tests and first steps. `how` is an estimator or a selection.
template <class How, class Real, class Kv>
BasicState<Real> attend(const How& how, const BasicQuery<Real>& q, const Kv& kv) {
  Workspace ws;
  BasicState<Real> state(q.heads(), kv.value_dim());
  attend(how, q, kv, state.view(), ws);
  return state;
}

/// Attention over two disjoint sets of positions becomes attention over their union: `state` takes in
/// `other`. Both [g, d_v]. Commutative bit for bit, associative to rounding; the empty state
/// (0, -inf) changes nothing. Throws std::invalid_argument on mismatched shapes and on states that share memory.
template <class Real>
void merge(const BasicStateView<Real>& state, const BasicStateView<Real>& other) {
  if (state.out.rows != other.out.rows) {
    fail("skim::merge: one state has ", state.out.rows, " rows, the other ", other.out.rows);
  }
  if (state.out.cols != other.out.cols) {
    fail("skim::merge: one state has ", state.out.cols, " columns, the other ", other.out.cols);
  }
  const auto check = [](const char* a, const char* b, const Rows<Real>& x, const Rows<Real>& y) {
    if (overlap(x, y)) fail("skim::merge: ", a, " overlaps ", b, ": each needs memory of its own");
  };
  check("out of the one state", "out of the other", state.out, other.out);
  check("out of the one state", "its lse", state.out, lse_rows(state));
  check("out of the one state", "lse of the other", state.out, lse_rows(other));
  check("lse of the one state", "out of the other", lse_rows(state), other.out);
  check("lse of the one state", "lse of the other", lse_rows(state), lse_rows(other));
  merge_into(state, other);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ATTEND_ATTEND_INL_H_
