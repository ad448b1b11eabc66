// SPDX-License-Identifier: Apache-2.0
// Gradients of a whole attention layer.
//
// Selections and their weights are constants. With p_i = w_i e^{s_i - lse}, o the output and G the gradient in it:
//   dv_i = p_i G    ds_i = p_i (<G, v_i> - <G, o>)    dq = scale sum_i ds_i k_i    dk_i = scale ds_i q
// and for the sink logit, which is in the denominator alone, -e^{sink - lse} <G, o>. Under a soft cap c the scale is
// multiplied by 1 - (s_i / c)^2. Given lse and <G, o>, every position adds its own part: so rows and keys are cut into
// blocks, and a task is a block of rows against a block of keys.
#if defined(SKIM_TRAIN_BACKWARD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_TRAIN_BACKWARD_INL_H_
#undef SKIM_TRAIN_BACKWARD_INL_H_
#else
#define SKIM_TRAIN_BACKWARD_INL_H_
#endif

#include <cmath>
#include <optional>

#include "skim/attend/layer-inl.h"
#include "skim/core/record.h"
#include "skim/train/check-inl.h"
#include "skim/train/gradients.h"
#include "skim/train/replay-inl.h"
#include "skim/train/scatter-inl.h"
#include "skim/train/tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// <a, b> of n values.
template <class Real>
Real inner_product(const Real* a, const Real* b, std::size_t n) {
  const Tag<Real> tag;
  auto sum = hn::Zero(tag);
  std::size_t i = 0;
  for (; i + kLanes<Real> <= n; i += kLanes<Real>) sum = hn::MulAdd(hn::LoadU(tag, a + i), hn::LoadU(tag, b + i), sum);
  Real total = hn::GetLane(hn::SumOfLanes(tag, sum));
  for (; i < n; ++i) total += a[i] * b[i];
  return total;
}

/// The backward pass of a layer, from a record of its selections.
template <class Real, class Kv>
class Backward {
 public:
  Backward(const Layer<Real, Kv>& layer, const SelectionRecord& record, const BasicLayerGradients<Real>& gradients,
           const CallWorkspaces& workspaces, const Executor& executor)
      : layer_(layer), record_(record), gradients_(gradients), workspaces_(workspaces), executor_(executor) {
    delta_ = workspaces[0].template get<Real>(Workspace::kDelta, gradients.dq.rows * gradients.dq.heads);
  }

  void run() {
    prepare();
    for (std::size_t phase = 0;; ++phase) {
      std::size_t phases = 0, count = 0;
      for_each_head([&](const Head& head) { phases = std::max(phases, head.phases()); });
      if (phase >= phases) break;
      for_each_pair(phase, [&](const Pair&) { ++count; });
      auto* pairs = workspaces_[0].template get<Pair>(Workspace::kPairs, count);
      std::size_t next = 0;
      for_each_pair(phase, [&](const Pair& pair) { pairs[next++] = pair; });
      run_tasks(executor_, count, [&](std::size_t i, std::size_t worker) { add_pair(pairs[i], workspaces_[worker]); });
    }
    if (gradients_.dsink != nullptr) add_sinks();
  }

 private:
  /// Rows and positions of a block. With keys and values of 512 positions, their copies and their gradients, the
  /// second-level cache is full; more and smaller ones would cost more copies.
  static constexpr std::size_t kRowsOfBlock = 512;
  static constexpr std::size_t kKeysOfBlock = 512;
  /// Spans of a row that go through matrix products; where a row has more, they are too short to be worth it.
  static constexpr std::size_t kTiledSpans = 2;

  /// A block of rows against a block of keys.
  struct Pair {
    std::size_t sequence, kv_head, rows, keys;
  };

  /// One KV head, and its rows and positions in blocks.
  struct Head {
    std::size_t sequence, kv_head;
    std::size_t row_blocks, key_blocks;

    /// In phase t the block i of keys meets the block (i + t) modulo `phases` of rows: no two tasks of a phase add to
    /// the same rows or keys, and what adds to one comes in the order of the phases, on any number of threads.
    std::size_t phases() const { return row_blocks == 0 ? 0 : std::max(row_blocks, key_blocks); }
  };

  template <class Visit>
  void for_each_head(const Visit& visit) const {
    for (std::size_t s = 0; s < layer_.sequences(); ++s) {
      const RowRange rows = layer_.rows_of(s);
      const std::size_t row_blocks = (rows.end - rows.begin + kRowsOfBlock - 1) / kRowsOfBlock;
      for (std::size_t h = 0; h < layer_.kv_heads(); ++h) {
        const auto n = static_cast<std::size_t>(layer_.kv(s, h).size());
        visit(Head{s, h, row_blocks, (n + kKeysOfBlock - 1) / kKeysOfBlock});
      }
    }
  }

  template <class Visit>
  void for_each_pair(std::size_t phase, const Visit& visit) const {
    for_each_head([&](const Head& head) {
      if (phase >= head.phases()) return;
      for (std::size_t keys = 0; keys < head.key_blocks; ++keys) {
        const std::size_t rows = (keys + phase) % head.phases();
        if (rows < head.row_blocks) visit(Pair{head.sequence, head.kv_head, rows, keys});
      }
    });
  }

  const BasicKvGradient<Real>& kv_gradient(std::size_t sequence, std::size_t kv_head) const {
    return gradients_.kv[sequence * layer_.kv_heads() + kv_head];
  }

  /// Zeros everywhere, and <dout, out> of all rows.
  void prepare() {
    const std::size_t rows = gradients_.dq.rows, heads = layer_.sequences() * layer_.kv_heads();
    const std::size_t row_tasks = (rows + kRowsOfBlock - 1) / kRowsOfBlock;
    run_tasks(executor_, row_tasks + heads, [&](std::size_t task, std::size_t) {
      if (task >= row_tasks) {
        const BasicKvGradient<Real>& kv = gradients_.kv[task - row_tasks];
        for (std::size_t i = 0; i < kv.dk.rows; ++i) {
          std::memset(kv.dk.row(i), 0, kv.dk.cols * sizeof(Real));
          std::memset(kv.dv.row(i), 0, kv.dv.cols * sizeof(Real));
        }
        return;
      }
      for (std::size_t r = task * kRowsOfBlock; r < std::min(rows, (task + 1) * kRowsOfBlock); ++r) {
        const Rows<Real> dq = gradients_.dq.group(r, 0, gradients_.dq.heads);
        const Rows<const Real> dout = gradients_.dout.group(r, 0, gradients_.dout.heads);
        const Rows<Real> out = gradients_.state.out.group(r, 0, gradients_.state.out.heads);
        for (std::size_t h = 0; h < dq.rows; ++h) {
          std::memset(dq.row(h), 0, dq.cols * sizeof(Real));
          delta_[r * dq.rows + h] = inner_product(dout.row(h), out.row(h), out.cols);
        }
      }
    });
  }

  /// Adds what a block of rows and a block of keys have to do with each other.
  void add_pair(const Pair& pair, Workspace& ws) {
    const RowRange all = layer_.rows_of(pair.sequence);
    const std::size_t begin = all.begin + pair.rows * kRowsOfBlock;
    const RowRange rows{pair.sequence, begin, std::min(all.end, begin + kRowsOfBlock), pair.kv_head};
    const Kv& kv = layer_.kv(pair.sequence, pair.kv_head);
    constexpr auto kStep = static_cast<Position>(kKeysOfBlock);
    const auto first = static_cast<Position>(pair.keys) * kStep;
    const Span keys = intersect({first, first + kStep}, {0, kv.size()});
    add_spans(rows, keys, ws);
    for (std::size_t r = rows.begin; r < rows.end; ++r) add_picks(r, rows.kv_head, keys, ws);
  }

  std::size_t unit_number(std::size_t row, std::size_t kv_head) const { return row * layer_.kv_heads() + kv_head; }

  /// What is read in runs, by matrix products: first the first span of each row, then the second.
  void add_spans(const RowRange& rows, Span keys, Workspace& ws) {
    const auto& kv = plain(layer_.kv(rows.sequence, rows.kv_head));
    auto* list = ws.get<BackwardRow<Real>>(Workspace::kBackwardRows, (rows.end - rows.begin) * layer_.group());
    std::optional<Tiles<Real>> tiles;
    LogitRule rule;
    for (std::size_t s = 0; s < kTiledSpans; ++s) {
      std::size_t count = 0;
      for (std::size_t r = rows.begin; r < rows.end; ++r) {
        count = list_row(r, rows.kv_head, s, keys, rule, list, count);
      }
      if (count == 0) continue;
      if (!tiles) tiles.emplace(kv, rule, keys, ws);
      tiles->add(list, count);
    }
    if (tiles) tiles->finish(kv_gradient(rows.sequence, rows.kv_head));
  }

  /// Appends the heads of row r whose span number s is among `keys`; returns how many rows are listed then.
  std::size_t list_row(std::size_t r, std::size_t kv_head, std::size_t s, Span keys, LogitRule& rule,
                       BackwardRow<Real>* list, std::size_t count) const {
    const std::size_t group = layer_.group(), per_unit = record_.per_unit(), number = unit_number(r, kv_head);
    typename Layer<Real, Kv>::Unit unit{};
    Span seen{};
    for (std::size_t h = 0; h < group; ++h) {
      if (h < per_unit) {
        const auto& spans = record_[number * per_unit + h].spans;
        seen = spans.size() > s && spans.size() <= kTiledSpans ? intersect(spans[s], keys) : Span{};
      }
      if (seen.size() == 0) continue;
      if (unit.kv == nullptr) {
        unit = layer_.unit(number, nullptr);
        unit.query = unit.query.resolved(unit.kv->size());
      }
      const BasicQuery<Real>& q = unit.query;
      const std::size_t head = kv_head * group + h;
      rule = q.logit;
      list[count++] = {q.rows.row(h),
                       gradients_.dout.group(r, head, 1).data,
                       gradients_.dq.group(r, head, 1).data,
                       shift(unit.state.lse_of(h)),
                       delta_[r * gradients_.dq.heads + head],
                       seen,
                       q.position,
                       q.logit.alibi_slopes ? q.logit.alibi_slopes[h] : 0.0f};
    }
    return count;
  }

  /// An empty row has lse -inf; e^{s - (+inf)} is 0 for all that it could have read.
  static Real shift(Real lse) { return lse == -kInfinity<Real> ? kInfinity<Real> : lse; }

  /// What one row reads here and there.
  void add_picks(std::size_t r, std::size_t kv_head, Span keys, Workspace& ws) {
    const std::size_t group = layer_.group(), per_unit = record_.per_unit(), number = unit_number(r, kv_head);
    for (std::size_t part = 0; part < per_unit; ++part) {
      const auto selected = record_[number * per_unit + part];
      const auto below = [&](Position at) {
        return static_cast<std::size_t>(std::lower_bound(selected.picks.begin(), selected.picks.end(), at) -
                                        selected.picks.begin());
      };
      const std::size_t from = below(keys.first), to = below(keys.last);
      const bool has_spans = selected.spans.size() > kTiledSpans;
      if (from == to && !has_spans) continue;

      const auto unit = layer_.unit(number, nullptr);
      const auto& kv = plain(*unit.kv);
      BasicQuery<Real> q = unit.query.resolved(kv.size());
      if (per_unit > 1) q = q.head(part);
      const std::size_t heads = q.heads(), head = kv_head * group + part;
      Real* lse = ws.get<Real>(Workspace::kUnwantedLse, heads);
      for (std::size_t h = 0; h < heads; ++h) lse[h] = shift(unit.state.lse_of(part + h));
      const BackwardGroup<Real> back{gradients_.dout.group(r, head, heads), gradients_.dq.group(r, head, heads), lse,
                                     delta_ + r * gradients_.dq.heads + head};
      Scatter<Real, PlainKv<Kv>> scatter(q, kv, back, kv_gradient(layer_.sequence_of(r), kv_head), ws);
      for (std::size_t s = 0; has_spans && s < selected.spans.size(); ++s) {
        const Span span = intersect(selected.spans[s], keys);
        scatter.add(
            static_cast<std::size_t>(span.size()),
            [&](std::size_t i) { return span.first + static_cast<Position>(i); }, [](std::size_t) { return 0.0; });
      }
      scatter.add(
          to - from, [&](std::size_t i) { return static_cast<Position>(selected.picks[from + i]); },
          [&](std::size_t i) { return selected.log_weights ? selected.log_weights[from + i] : 0.0; });
      scatter.finish();
    }
  }

  /// A head's sink logit by all rows, in their order.
  void add_sinks() const {
    const std::size_t rows = gradients_.dq.rows, heads = gradients_.dq.heads;
    for (std::size_t h = 0; h < heads; ++h) {
      double sum = 0;
      for (std::size_t r = 0; r < rows; ++r) {
        const auto lse = static_cast<double>(shift(*gradients_.state.lse_of(r, h)));
        sum -= std::exp(layer_.sink_logit(h) - lse) * static_cast<double>(delta_[r * heads + h]);
      }
      gradients_.dsink[h] = static_cast<Real>(sum);
    }
  }

  const Layer<Real, Kv>& layer_;
  const SelectionRecord& record_;
  const BasicLayerGradients<Real>& gradients_;
  const CallWorkspaces& workspaces_;
  const Executor& executor_;
  Real* delta_;  // [rows, q_heads]
};

/// Gradients of `attend(estimator, query, kv, gradients.state)` in queries, keys, values and sink logits, from
/// gradients.dout; `record` is what that call wrote down (Options::record) or what `select` says of it. Query heads
/// that share a KV head add to its gradients. Everything in gradients.dq, .kv and .dsink is overwritten.
///
/// Selections and weights are constants of the step, for a sampler too: so the gradients of its numerator and
/// denominator are unbiased, and that of their ratio is consistent. There is none in soft cap and ALiBi slopes, which
/// models do not learn, and none in scale, because it is sum <q, dq> / scale.
///
/// Equal inputs give equal bits on any number of threads. Allocates nothing after warm-up when options bring
/// workspaces.
/// Throws std::invalid_argument, before anything is written, on shapes that do not fit, and when what is overwritten shares
/// memory with anything else.
template <class Real, class Kv>
void backward(const SelectionRecord& record, const BasicLayerQuery<Real>& query, const LayerKv<Kv>& kv,
              const BasicLayerGradients<Real>& gradients, const Options& options = {}) {
  static_assert(KvHead<Kv>, "skim: keys and values come as a KvHead: ContiguousKv, PagedKv or a type like them");
  static_assert(std::is_same_v<typename Kv::Key, Real> && std::is_same_v<typename Kv::Value, Real>,
                "skim: gradients are those of keys and values in the type of the queries");
  const CallWorkspaces workspaces(options);
  const Layer<Real, Kv> layer(query, kv, gradients.state);
  if (options.check) {
    layer.check(workspaces[0]);
    check_gradients(query, kv, gradients, workspaces[0]);
    check_record(record, layer);
  }
  layer.check_beside(false);
  Backward<Real, Kv>(layer, record, gradients, workspaces, options.executor).run();
}

/// The same without a record: the selections are made again. They are those of the forward pass, bit for bit, since an
/// estimator's logits and draws do not depend on where they are asked for; it costs what selecting costs.
template <Estimator E, class Real, class Kv>
void backward(const E& estimator, const BasicLayerQuery<Real>& query, const LayerKv<Kv>& kv,
              const BasicLayerGradients<Real>& gradients, const Options& options = {}) {
  const CallWorkspaces workspaces(options);
  const Layer<Real, Kv> layer(query, kv, gradients.state);
  if (options.check) {
    layer.check(workspaces[0]);
    layer.check_estimator(estimator, true);
    check_gradients(query, kv, gradients, workspaces[0]);
  }
  layer.check_beside(options.strict);
  SelectionRecord own;
  SelectionRecord& record = options.record == nullptr ? own : *options.record;
  select_units(estimator, layer, record, workspaces, options);
  backward(record, query, kv, gradients, options);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_TRAIN_BACKWARD_INL_H_
