// SPDX-License-Identifier: Apache-2.0
// What every row of a layer selects, without attending to it.
#if defined(SKIM_TRAIN_REPLAY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_TRAIN_REPLAY_INL_H_
#undef SKIM_TRAIN_REPLAY_INL_H_
#else
#define SKIM_TRAIN_REPLAY_INL_H_
#endif

#include <memory>

#include "skim/attend/layer-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// The workspaces of a call: the caller's, or its own if there are none.
class CallWorkspaces {
 public:
  explicit CallWorkspaces(const Options& options) : all_(options.workspaces) {
    if (options.check) check_executor(options.executor);
    const std::size_t threads = std::max<std::size_t>(1, options.executor.threads);
    if (all_.empty()) {
      own_ = std::make_unique<Workspace[]>(threads);
      all_ = {own_.get(), threads};
    } else if (options.check && all_.size() < threads) {
      fail("skim::attend: ", all_.size(), " workspaces but the executor has ", threads, " threads");
    }
  }
  Workspace& operator[](std::size_t worker) const { return all_[worker]; }
  std::size_t size() const { return all_.size(); }

 private:
  std::unique_ptr<Workspace[]> own_;
  std::span<Workspace> all_;
};

/// Writes down what each unit of a layer selects.
template <class E, class Layer>
void select_units(const E& estimator, const Layer& layer, SelectionRecord& record, const CallWorkspaces& workspaces,
                  const Options& options) {
  layer.begin(record, workspaces.size());
  if (layer.units() == 0) return;
  const ManyRows how = many_rows_kernel(estimator) == ManyRows::kLargest ? ManyRows::kLargest : ManyRows::kNone;
  auto* ranges = workspaces[0].template get<RowRange>(Workspace::kRowRanges, layer.units());
  const Tasks tasks = layer.cut_rows(how, ranges);
  run_tasks(options.executor, tasks.count, [&](std::size_t i, std::size_t worker) {
    const RowRange& range = tasks.ranges[i];
    Workspace& ws = workspaces[worker];
    const auto note = [&](std::size_t unit, std::size_t head) {
      layer.notes(&record, unit, worker).take(head, ws.selection);
    };
    if (i < tasks.many()) {
      return select_largest(estimator, layer, range, ws, options.check,
                            [&](std::size_t unit, std::size_t head, const auto&...) { note(unit, head); });
    }
    const auto unit = layer.unit(range, ws);
    const auto& kv = *unit.kv;
    std::size_t head = 0;
    for_each_selection(unit.query.resolved(kv.size()), unit.state, [&](const auto& q, const auto&) {
      const Asking asking(q, kv, ws);
      select_resolved(estimator, q, kv, ws.selection, ws);
      if (options.check) check_selection(ws.selection, q.visible, summary_rows(kv));
      note(layer.number(range), head++);
    });
  });
}

/// What `estimator` selects for every row of a layer, written into `record`: bit for bit the selections of `attend`
/// with the same arguments, which writes the same with Options::record.
/// Throws std::invalid_argument, before anything is written, on shapes that do not fit.
template <Estimator E, class Real, class Kv>
void select(const E& estimator, const BasicLayerQuery<Real>& query, const LayerKv<Kv>& kv, SelectionRecord& record,
            const Options& options = {}) {
  static_assert(KvHead<Kv>, "skim: keys and values come as a KvHead: ContiguousKv, PagedKv or a type like them");
  const CallWorkspaces workspaces(options);
  const BasicLayerState<Real> nothing{};
  const Layer<Real, Kv> layer(query, kv, nothing);
  if (options.check) {
    layer.check_asked(workspaces[0]);
    layer.check_estimator(estimator, true);
  }
  layer.check_beside(options.strict);
  select_units(estimator, layer, record, workspaces, options);
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_TRAIN_REPLAY_INL_H_
