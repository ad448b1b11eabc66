// SPDX-License-Identifier: Apache-2.0
// What a backward pass checks besides what `attend` does, before anything is written.
#if defined(SKIM_TRAIN_CHECK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_TRAIN_CHECK_INL_H_
#undef SKIM_TRAIN_CHECK_INL_H_
#else
#define SKIM_TRAIN_CHECK_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

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

/// What a backward pass reads or writes: rows of a tensor, of one of its heads, or of one KV view.
struct Tensor {
  Memory memory;
  const char* name;
  std::size_t view;  // kNoView: of all
  bool written;

  static constexpr std::size_t kNoView = ~std::size_t{0};
};

[[noreturn]] SKIM_COLD inline void fail_to_be_apart(const Tensor& written, const Tensor& other) {
  const auto name = [](const Tensor& x) {
    const std::string tensor = x.name;
    return x.view == Tensor::kNoView ? tensor : tensor + " of KV view " + std::to_string(x.view);
  };
  fail("skim::backward: ", name(written), " overlaps ", name(other), ": what is written needs memory of its own");
}

/// Throws when something that is written shares memory with anything else.
template <class Real, class Kv>
void check_gradients_apart(const BasicLayerQuery<Real>& query, const LayerKv<Kv>& kv, const BasicLayerGradients<Real>& g,
                           Workspace& ws) {
  const std::size_t heads = query.rows.heads, rows = query.rows.rows, views = kv.heads.size();
  auto* all = ws.get<Tensor>(Workspace::kPairs, 4 * heads + 3 + 2 * views);
  std::size_t count = 0;
  const auto add = [&](const Memory& memory, const char* name, std::size_t view, bool written) {
    if (memory.rows != 0) all[count++] = {memory, name, view, written};
  };
  for (std::size_t h = 0; h < heads; ++h) {
    add(memory_of(g.dq.head(h)), "dq", Tensor::kNoView, true);
    add(memory_of(query.rows.head(h)), "q", Tensor::kNoView, false);
    add(memory_of(g.state.out.head(h)), "out", Tensor::kNoView, false);
    add(memory_of(g.dout.head(h)), "dout", Tensor::kNoView, false);
  }
  const auto flat = []<class T>(T* data, std::size_t n) { return memory_of(Rows<T>{data, data == nullptr ? 0u : 1u, n}); };
  add(flat(g.state.lse, rows * heads), "lse", Tensor::kNoView, false);
  add(flat(query.sink_logits, heads), "sink_logits", Tensor::kNoView, false);
  add(flat(g.dsink, heads), "dsink", Tensor::kNoView, true);
  for (std::size_t i = 0; i < views; ++i) {
    add(memory_of(g.kv[i].dk), "dk", i, true);
    add(memory_of(g.kv[i].dv), "dv", i, true);
  }

  // In the order of their first bytes only those that have not ended are met: interleaved heads, and what is wrong.
  struct FirstByte {
    bool operator()(const Tensor& a, const Tensor& b) const { return a.memory.first < b.memory.first; }
  };
  std::sort(all, all + count, FirstByte{});
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = i + 1; j < count && all[j].memory.first < all[i].memory.end(); ++j) {
      const Tensor &a = all[i], &b = all[j];
      if (!(a.written || b.written) || !overlap(a.memory, b.memory)) continue;
      if (a.written) fail_to_be_apart(a, b);
      fail_to_be_apart(b, a);
    }
  }

  // Keys and values, which may lie in pages, against what covers a part of them: seldom anything.
  std::uintptr_t first = ~std::uintptr_t{0}, end = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (!all[i].written) continue;
    first = std::min(first, all[i].memory.first);
    end = std::max(end, all[i].memory.end());
  }
  if (first >= end) return;
  const Memory around{first, 1, 1, static_cast<std::ptrdiff_t>(end - first)};
  for (std::size_t v = 0; v < views; ++v) {
    if (overlapped_part(plain(kv.heads[v]), around) == nullptr) continue;
    for (std::size_t i = 0; i < count; ++i) {
      const char* part = all[i].written ? overlapped_part(plain(kv.heads[v]), all[i].memory) : nullptr;
      if (part != nullptr) fail_to_be_apart(all[i], {{}, part, v, false});
    }
  }
}

/// Throws std::invalid_argument when gradients do not fit the layer they are of.
template <class Real, class Kv>
void check_gradients(const BasicLayerQuery<Real>& query, const LayerKv<Kv>& kv, const BasicLayerGradients<Real>& g,
                     Workspace& ws) {
  const auto& q = query.rows;
  if (g.state.lse == nullptr && q.rows != 0) {
    fail("skim::backward: lse is null but q has ", q.rows, " rows: the forward pass must write it");
  }
  check_head_rows("dout", g.dout, q.rows, q.heads, g.state.out.cols);
  check_head_rows("dq", g.dq, q.rows, q.heads, q.cols);
  check_steps(g.dq);
  if (g.kv.size() != kv.heads.size()) {
    fail("skim::backward: there are gradients of ", g.kv.size(), " KV views but ", kv.heads.size(), " KV views");
  }
  for (std::size_t i = 0; i < g.kv.size(); ++i) {
    const auto n = static_cast<std::size_t>(kv.heads[i].size());
    check_view_rows("dk", i, g.kv[i].dk, n, kv.heads[i].key_dim());
    check_view_rows("dv", i, g.kv[i].dv, n, kv.heads[i].value_dim());
  }
  if (g.dsink != nullptr && query.sink_logits == nullptr) {
    fail("skim::backward: dsink is wanted of ", q.heads, " heads but the query has 0 sink logits");
  }
  check_gradients_apart(query, kv, g, ws);
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
