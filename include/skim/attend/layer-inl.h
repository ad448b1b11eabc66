// SPDX-License-Identifier: Apache-2.0
// All heads, rows and sequences of a layer, on the caller's threads.
#if defined(SKIM_ATTEND_LAYER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ATTEND_LAYER_INL_H_
#undef SKIM_ATTEND_LAYER_INL_H_
#else
#define SKIM_ATTEND_LAYER_INL_H_
#endif

#include <memory>
#include <span>

#include "skim/attend/layer_view-inl.h"
#include "skim/attend/options.h"
#include "skim/attend/run_tasks-inl.h"
#include "skim/attend/split-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

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
    const auto unit = layer.unit(range, ws);
    attend_unchecked(estimator, unit.query, *unit.kv, unit.state, ws, options.check,
                     layer.notes(record, layer.number(range), worker));
  });
  for (std::size_t i = tasks.many(); split && i < tasks.count; ++i) {
    attend_split(estimator, layer, tasks.ranges[i], workspaces, options);
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ATTEND_LAYER_INL_H_
