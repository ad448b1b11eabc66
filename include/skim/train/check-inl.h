// SPDX-License-Identifier: Apache-2.0
// What a backward pass checks besides what `attend` does, before anything is written.
#if defined(SKIM_TRAIN_CHECK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_TRAIN_CHECK_INL_H_
#undef SKIM_TRAIN_CHECK_INL_H_
#else
#define SKIM_TRAIN_CHECK_INL_H_
#endif

#include <cstdlib>

#include "skim/attend/layer-inl.h"
#include "skim/core/record.h"
#include "skim/core/validate.h"
#include "skim/train/gradients.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// Throws when x is not [rows, heads, cols].
template <class T>
void check_head_rows(const char* what, const HeadRows<T>& x, std::size_t rows, std::size_t heads, std::size_t cols) {
  if (x.rows != rows) fail("skim::backward: ", what, " has ", x.rows, " rows but q has ", rows);
  if (x.heads != heads) fail("skim::backward: ", what, " has ", x.heads, " heads but q has ", heads);
  if (x.cols != cols) fail("skim::backward: ", what, " has ", x.cols, " columns but must have ", cols);
  if (x.data == nullptr && rows != 0) fail("skim::backward: ", what, " is null but has ", rows, " rows");
}

/// Throws when x, a gradient of KV view i, is not [rows, cols] or when its rows overlap.
template <class T>
void check_view_rows(const char* what, std::size_t i, const Rows<T>& x, std::size_t rows, std::size_t cols) {
  if (x.rows != rows) {
    fail("skim::backward: ", what, " of KV view ", i, " has ", x.rows, " rows but there are ", rows, " positions");
  }
  if (x.cols != cols) {
    fail("skim::backward: ", what, " of KV view ", i, " has ", x.cols, " columns but its rows have ", cols);
  }
  if (x.data == nullptr && rows != 0) {
    fail("skim::backward: ", what, " of KV view ", i, " is null but there are ", rows, " positions");
  }
  if (rows > 1 && static_cast<std::size_t>(std::abs(x.stride)) < cols) {
    fail("skim::backward: rows of ", what, " of KV view ", i, " overlap: stride is ", x.stride, " but there are ", cols,
         " columns");
  }
}

template <class T>
void check_steps(const HeadRows<T>& dq) {
  const auto step = [](std::ptrdiff_t stride) { return static_cast<std::size_t>(std::abs(stride)); };
  if (dq.heads > 1 && step(dq.head_stride) < dq.cols) {
    fail("skim::backward: heads of dq overlap: head_stride is ", dq.head_stride, " but there are ", dq.cols,
         " columns");
  }
  if (dq.rows > 1 && step(dq.row_stride) < dq.cols) {
    fail("skim::backward: rows of dq overlap: row_stride is ", dq.row_stride, " but there are ", dq.cols, " columns");
  }
}

/// Throws std::invalid_argument when gradients do not fit the layer they are of.
template <class Real, class Kv>
void check_gradients(const BasicLayerQuery<Real>& query, const LayerKv<Kv>& kv, const BasicLayerGradients<Real>& g) {
  const auto& q = query.rows;
  if (g.state.lse == nullptr && q.rows != 0) {
    fail("skim::backward: lse is null but q has ", q.rows, " rows: the forward pass must write it");
  }
  check_head_rows("dout", g.dout, q.rows, q.heads, g.state.out.cols);
  check_head_rows("dq", g.dq, q.rows, q.heads, q.cols);
  check_steps(g.dq);
  if (overlap(outline(g.dq), outline(q))) fail("skim::backward: dq overlaps q");
  if (overlap(outline(g.dq), outline(g.dout))) fail("skim::backward: dq overlaps dout");
  if (g.kv.size() != kv.heads.size()) {
    fail("skim::backward: there are gradients of ", g.kv.size(), " KV views but ", kv.heads.size(), " KV views");
  }
  for (std::size_t i = 0; i < g.kv.size(); ++i) {
    const auto n = static_cast<std::size_t>(kv.heads[i].size());
    check_view_rows("dk", i, g.kv[i].dk, n, kv.heads[i].key_dim());
    check_view_rows("dv", i, g.kv[i].dv, n, kv.heads[i].value_dim());
    if (overlap(g.kv[i].dk, g.kv[i].dv)) fail("skim::backward: dk and dv of KV view ", i, " overlap");
    if (i != 0 && (overlap(g.kv[i].dk, g.kv[i - 1].dk) || overlap(g.kv[i].dv, g.kv[i - 1].dv))) {
      fail("skim::backward: gradients of KV views ", i - 1, " and ", i, " overlap");
    }
  }
  if (g.dsink != nullptr && query.sink_logits == nullptr) {
    fail("skim::backward: dsink is wanted of ", q.heads, " heads but the query has 0 sink logits");
  }
}

/// Throws std::invalid_argument when a record cannot be of this layer: by its shape, and when it names a position that
/// its row does not see.
template <class Layer>
void check_record(const SelectionRecord& record, const Layer& layer) {
  const std::size_t rows = layer.units() / layer.kv_heads();
  if (record.rows() != rows) fail("skim::backward: the record has ", record.rows(), " rows but q has ", rows);
  if (record.kv_heads() != layer.kv_heads()) {
    fail("skim::backward: the record has ", record.kv_heads(), " KV heads but there are ", layer.kv_heads());
  }
  if (record.per_unit() != layer.selections_per_unit()) {
    fail("skim::backward: the record has ", record.per_unit(),
         " selections for each row and KV head but the query makes ", layer.selections_per_unit());
  }
  for (std::size_t i = 0; i < record.size(); ++i) {
    const auto selected = record[i];
    Span read{};
    for (const Span& span : selected.spans) read = hull(read, span);
    const auto& picks = selected.picks;
    if (!picks.empty()) {
      read = hull(read, {static_cast<Position>(picks.front()), static_cast<Position>(picks.back()) + 1});
    }
    if (read.size() == 0) continue;
    const auto unit = layer.unit(i / record.per_unit(), nullptr);
    const Span visible = unit.query.resolved(unit.kv->size()).visible;
    if (intersect(read, visible) != read) {
      fail("skim::backward: entry ", i, " of the record reads [", read.first, ", ", read.last, ") but its row sees [",
           visible.first, ", ", visible.last, ")");
    }
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_TRAIN_CHECK_INL_H_
