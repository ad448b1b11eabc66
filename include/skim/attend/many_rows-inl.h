// SPDX-License-Identifier: Apache-2.0
// Many rows of a sequence at once: which estimators have a kernel for them, and how it is fed.
#if defined(SKIM_ATTEND_MANY_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ATTEND_MANY_ROWS_INL_H_
#undef SKIM_ATTEND_MANY_ROWS_INL_H_
#else
#define SKIM_ATTEND_MANY_ROWS_INL_H_
#endif

#include <optional>

#include "skim/attend/attend-inl.h"
#include "skim/kernel/prefill-inl.h"
#include "skim/kernel/preselect-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Some rows of one sequence against one KV head: what one thread takes at a time.
struct RowRange {
  std::size_t sequence, begin, end, kv_head;
};

/// How the rows of a chunk are best attended to.
enum class ManyRows {
  kNone,     ///< one by one
  kDense,    ///< by matrix products
  kLargest,  ///< matrix products pre-select, then one by one
};

/// Whether the logits serve an estimator only to find the largest ones.
template <class E>
bool selects_largest(const E& e) {
  if (sources(e) != 0) return false;  // an index speaks of one query at a time
  return std::is_same_v<E, TopK> || std::is_same_v<E, Sinks> || std::is_same_v<E, Window>;
}
template <class... Stages>
bool selects_largest(const Stack<Stages...>& e) {
  return std::apply([](const auto&... stage) { return (selects_largest(stage) && ...); }, e.stages);
}
inline bool selects_largest(const StageList& e) {
  for (const Stage& any : e.stages) {
    if (!std::visit([](const auto& stage) { return selects_largest(stage); }, any)) return false;
  }
  return true;
}

template <class E>
bool is_dense(const E&) {
  return std::is_same_v<E, Dense>;
}
template <class E>
bool is_dense(const Stack<E>& e) {
  return is_dense(std::get<0>(e.stages));
}
inline bool is_dense(const StageList& e) {
  return e.stages.size() == 1 && std::holds_alternative<Dense>(e.stages[0]);
}

/// Whether page means may stand for some of what E leaves.
template <class E>
bool leaves_summaries(const E&) {
  return std::is_same_v<E, Summaries>;
}
template <class... Stages>
bool leaves_summaries(const Stack<Stages...>& e) {
  return std::apply([](const auto&... stage) { return (leaves_summaries(stage) || ...); }, e.stages);
}
inline bool leaves_summaries(const StageList& e) {
  for (const Stage& any : e.stages) {
    if (std::visit([](const auto& stage) { return leaves_summaries(stage); }, any)) return true;
  }
  return false;
}

template <class E>
ManyRows many_rows_kernel(const E& estimator) {
  if (is_dense(estimator)) return ManyRows::kDense;
  // Sinks and windows alone have nothing to look for.
  return selects_largest(estimator) && reads_logits(estimator) ? ManyRows::kLargest : ManyRows::kNone;
}

/// Dense attention by matrix products whose sums may have left the range of Real, which means of finite values cannot:
/// such rows are attended to once more, on their own, and what is finite then replaces what was not.
template <class Real, class Kv>
void bring_into_range(const BasicQuery<Real>& q, const Kv& kv, const BasicStateView<Real>& state, Workspace& ws) {
  const std::size_t cols = state.out.cols;
  for (std::size_t h = 0; h < q.heads(); ++h) {
    Real* out = state.out.row(h);
    if (std::isnan(state.lse_of(h)) || all_finite(out, cols)) continue;
    Real* alone = ws.get<Real>(Workspace::kSummaries, cols + 1);
    ws.selection.clear();
    ws.selection.add(q.visible);
    accumulate_list(q.head(h), kv, ws.selection, ws.selection, Logits<Real>{}, {{alone, 1, cols}, alone + cols}, ws);
    for (std::size_t c = 0; c < cols; ++c) {
      if (!std::isfinite(out[c]) && std::isfinite(alone[c])) out[c] = alone[c];
    }
  }
}

/// Dense attention of a range of rows by matrix products.
template <class Layer>
void prefill(const Layer& layer, const RowRange& range, Workspace& ws, SelectionRecord* record, std::size_t worker) {
  using Real = typename Layer::Real;
  using Kv = PlainKv<typename Layer::Kv>;
  const std::size_t group = layer.group();
  const std::size_t count = (range.end - range.begin) * group;
  auto* rows = ws.get<PrefillRow<Real>>(Workspace::kPrefillRows, count);
  Real* lse = ws.get<Real>(Workspace::kUnwantedLse, count);
  typename Layer::Unit unit{};
  for (std::size_t r = range.begin, i = 0; r < range.end; ++r) {
    const std::size_t number = r * layer.kv_heads() + range.kv_head;
    unit = layer.unit(number, lse + (r - range.begin) * group);
    unit.query = unit.query.resolved(unit.kv->size());
    const auto& q = unit.query;
    const Notes notes = layer.notes(record, number, worker);
    for (std::size_t h = 0; h < layer.selections_per_unit(); ++h) notes.take(h, q.visible);
    for (std::size_t h = 0; h < group; ++h, ++i) {
      rows[i] = {q.rows.row(h), unit.state.out.row(h), &unit.state.lse_of(h), q.visible, q.position,
                 q.logit.alibi_slopes ? q.logit.alibi_slopes[h] : 0.0f};
    }
  }
  Prefill<Real, Kv>(plain(*unit.kv), unit.query.logit, rows, count, ws).run();
  for (std::size_t r = range.begin; r < range.end; ++r) {
    const auto done = layer.unit(r * layer.kv_heads() + range.kv_head, lse + (r - range.begin) * group);
    bring_into_range(done.query.resolved(done.kv->size()), plain(*done.kv), done.state, ws);
    merge_sinks(done.query, done.state);
  }
}

/// What a range of rows selects with an estimator that selects the largest logits: their candidates come from matrix
/// products where these leave out most positions, and the bits are those of each row on its own.
/// visit(unit, head, query, kv, state) comes after each selection, which is in the workspace; head: 0 for a group.
template <class E, class Layer, class Visit>
void select_largest(const E& estimator, const Layer& layer, const RowRange& range, Workspace& ws, bool check,
                    const Visit& visit) {
  using Real = typename Layer::Real;
  using Kv = PlainKv<typename Layer::Kv>;
  constexpr std::size_t kFewerThan = 8;  // of n positions n / 8 candidates; more are not worth a list
  const std::size_t count = range.end - range.begin;
  const bool fills_panels = count >= kPanel<Real> / 2;  // else rows one by one are faster
  Real* lse = ws.get<Real>(Workspace::kUnwantedLse, layer.group());
  const auto unit_of = [&](std::size_t r) { return layer.unit(r * layer.kv_heads() + range.kv_head, lse); };
  auto* wanted = ws.get<Wanted<Real>>(Workspace::kPrefillRows, count);
  auto* row_of = ws.get<std::size_t>(Workspace::kRowNumbers, count);

  // Rows that select together; under per-head selection each head goes through all rows.
  const bool per_head = unit_of(range.begin).query.grouping == Grouping::kPerHead;
  for (std::size_t h = 0; h < (per_head ? layer.group() : 1); ++h) {
    const auto part_of = [&](const BasicQuery<Real>& q) { return per_head ? q.head(h) : q; };
    std::size_t worth = 0;
    for (std::size_t r = 0; r < count; ++r) {
      const auto unit = unit_of(range.begin + r);
      const BasicQuery<Real> q = part_of(unit.query.resolved(unit.kv->size()));
      const auto visible = static_cast<std::size_t>(q.visible.size());
      const std::size_t most = estimator.max_picks(visible);
      row_of[r] = count;
      if (!fills_panels || most == 0 || most >= visible / kFewerThan) continue;
      row_of[r] = worth;
      wanted[worth++] = {q, most};
    }
    const Kv& kv = plain(*unit_of(range.begin).kv);
    std::optional<Preselect<Real, Kv>> preselect;
    if (worth != 0) preselect.emplace(kv, wanted, worth, ws).run();
    for (std::size_t r = 0; r < count; ++r) {
      const auto unit = unit_of(range.begin + r);
      const BasicQuery<Real> q = part_of(unit.query.resolved(unit.kv->size()));
      const Asking asking(q, kv, ws);
      if (row_of[r] != count) ws.asked.candidates = preselect->candidates(row_of[r]);
      select_resolved(estimator, q, kv, ws.selection, ws);
      if (check) check_selection(ws.selection, q.visible);
      visit((range.begin + r) * layer.kv_heads() + range.kv_head, h, q, kv, per_head ? unit.state.head(h) : unit.state);
    }
  }
}

/// The same, and attends to it.
template <class E, class Layer>
void attend_largest(const E& estimator, const Layer& layer, const RowRange& range, Workspace& ws, bool check,
                    SelectionRecord* record, std::size_t worker) {
  select_largest(estimator, layer, range, ws, check,
                 [&](std::size_t unit, std::size_t head, const auto& q, const auto& kv, const auto& state) {
                   layer.notes(record, unit, worker).take(head, ws.selection);
                   accumulate(q, kv, ws.selection, state, ws);
                 });
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ATTEND_MANY_ROWS_INL_H_
