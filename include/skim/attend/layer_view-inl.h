// SPDX-License-Identifier: Apache-2.0
// A layer call taken apart: units, and the tasks that threads take.
#if defined(SKIM_ATTEND_LAYER_VIEW_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ATTEND_LAYER_VIEW_INL_H_
#undef SKIM_ATTEND_LAYER_VIEW_INL_H_
#else
#define SKIM_ATTEND_LAYER_VIEW_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include "skim/attend/attend-inl.h"
#include "skim/attend/check-inl.h"
#include "skim/attend/layer.h"
#include "skim/attend/many_rows-inl.h"
#include "skim/index/verify-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

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
    // Negative only where there are no positions at all.
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

  /// The same of a range of one row; the scratch is in the workspace.
  Unit unit(const RowRange& row, Workspace& ws) const {
    return unit(number(row), ws.template get<Real>(Workspace::kUnwantedLse, group()));
  }
  /// Which unit a range of one row is.
  std::size_t number(const RowRange& row) const { return row.begin * kv_heads() + row.kv_head; }

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

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ATTEND_LAYER_VIEW_INL_H_
