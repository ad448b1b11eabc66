// SPDX-License-Identifier: Apache-2.0
// What a backward pass checks besides what `attend` does, before anything is written.
#ifndef SKIM_TRAIN_CHECK_H_
#define SKIM_TRAIN_CHECK_H_

#include <cstddef>
#include <cstdlib>

#include "skim/attend/layer.h"
#include "skim/core/error.h"
#include "skim/core/record.h"
#include "skim/core/validate.h"
#include "skim/train/gradients.h"

namespace skim::inline SKIM_ABI {

/// Throws when x is not [rows, heads, cols] in memory of its own.
template <class T>
void check_head_rows(const char* what, const HeadRows<T>& x, std::size_t rows, std::size_t heads, std::size_t cols) {
  if (x.rows != rows) fail("skim::backward: ", what, " has ", x.rows, " rows but q has ", rows);
  if (x.heads != heads) fail("skim::backward: ", what, " has ", x.heads, " heads but q has ", heads);
  if (x.cols != cols) fail("skim::backward: ", what, " has ", x.cols, " columns but must have ", cols);
  if (x.data == nullptr && rows != 0) fail("skim::backward: ", what, " is null but has ", rows, " rows");
}

/// Throws when x is not [rows, cols], or when its rows overlap.
template <class T>
void check_gradient_rows(const char* what, std::size_t view, const Rows<T>& x, std::size_t rows, std::size_t cols) {
  if (x.rows != rows) {
    fail("skim::backward: ", what, " of KV view ", view, " has ", x.rows, " rows but there are ", rows, " positions");
  }
  if (x.cols != cols) {
    fail("skim::backward: ", what, " of KV view ", view, " has ", x.cols, " columns but its rows have ", cols);
  }
  if (x.data == nullptr && rows != 0) {
    fail("skim::backward: ", what, " of KV view ", view, " is null but there are ", rows, " positions");
  }
  if (rows > 1 && static_cast<std::size_t>(std::abs(x.stride)) < cols) {
    fail("skim::backward: rows of ", what, " of KV view ", view, " overlap: stride is ", x.stride, " but there are ", cols,
         " columns");
  }
}

template <class Real, class Kv>
void check_gradients(const BasicLayerQuery<Real>& query, const LayerKv<Kv>& kv, const BasicLayerGradients<Real>& g) {
  const auto& q = query.rows;
  if (g.state.lse == nullptr && q.rows != 0) {
    fail("skim::backward: lse is null but q has ", q.rows, " rows: the forward pass must write it");
  }
  check_head_rows("dout", g.dout, q.rows, q.heads, g.state.out.cols);
  check_head_rows("dq", g.dq, q.rows, q.heads, q.cols);
  const auto columns = [](std::ptrdiff_t stride) { return static_cast<std::size_t>(std::abs(stride)); };
  if (q.heads > 1 && columns(g.dq.head_stride) < q.cols) {
    fail("skim::backward: heads of dq overlap: head_stride is ", g.dq.head_stride, " but there are ", q.cols, " columns");
  }
  if (q.rows > 1 && columns(g.dq.row_stride) < q.cols) {
    fail("skim::backward: rows of dq overlap: row_stride is ", g.dq.row_stride, " but there are ", q.cols, " columns");
  }
  if (g.kv.size() != kv.heads.size()) {
    fail("skim::backward: there are gradients of ", g.kv.size(), " KV views but ", kv.heads.size(), " KV views");
  }
  for (std::size_t i = 0; i < g.kv.size(); ++i) {
    const auto n = static_cast<std::size_t>(kv.heads[i].size());
    check_gradient_rows("dk", i, g.kv[i].dk, n, kv.heads[i].key_dim());
    check_gradient_rows("dv", i, g.kv[i].dv, n, kv.heads[i].value_dim());
  }
  if (g.dsink != nullptr && query.sink_logits == nullptr) {
    fail("skim::backward: dsink is wanted for ", q.heads, " heads but there are 0 sink logits");
  }
}

/// Whether `record` can be of this layer: its shape, and that no position is beyond the keys.
template <class Real, class Kv>
void check_record(const SelectionRecord& record, const BasicLayerQuery<Real>& query, const LayerKv<Kv>& kv) {
  if (record.rows() != query.rows.rows) {
    fail("skim::backward: the record has ", record.rows(), " rows but q has ", query.rows.rows);
  }
  if (record.kv_heads() != kv.kv_heads) {
    fail("skim::backward: the record has ", record.kv_heads(), " KV heads but there are ", kv.kv_heads);
  }
  const std::size_t per_unit = query.grouping == Grouping::kPerHead ? query.rows.heads / kv.kv_heads : 1;
  if (record.per_unit() != per_unit) {
    fail("skim::backward: the record has ", record.per_unit(), " selections a row and KV head but the query makes ", per_unit);
  }
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_TRAIN_CHECK_H_
