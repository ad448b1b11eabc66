// SPDX-License-Identifier: Apache-2.0
// What a layer call checks before anything is written, besides what estimators and indexes want.
#if defined(SKIM_ATTEND_CHECK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SKIM_ATTEND_CHECK_INL_H_
#undef SKIM_ATTEND_CHECK_INL_H_
#else
#define SKIM_ATTEND_CHECK_INL_H_
#endif

#include <algorithm>
#include <cstdlib>

#include "skim/attend/layer.h"
#include "skim/core/validate.h"
#include "skim/core/workspace.h"
#include "skim/index/indexed_kv.h"
#include "skim/kernel/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace skim::inline SKIM_ABI::HWY_NAMESPACE {
namespace {

/// The memory of [rows, heads, cols] as rows: of the axis with the larger stride, each as long as all of the
/// other axis.
template <class T>
Rows<T> outline(const HeadRows<T>& x) {
  const bool by_row = std::abs(x.row_stride) >= std::abs(x.head_stride);
  const std::size_t inner = by_row ? x.heads : x.rows;
  const std::ptrdiff_t step = by_row ? x.head_stride : x.row_stride;
  const std::ptrdiff_t length = inner > 1 ? static_cast<std::ptrdiff_t>(inner - 1) * step : 0;
  return {x.data + std::min<std::ptrdiff_t>(length, 0), inner == 0 ? 0 : by_row ? x.rows : x.heads,
          static_cast<std::size_t>(std::abs(length)) + x.cols, by_row ? x.row_stride : x.head_stride};
}

/// Whether the heads of x share memory with `other`.
template <class T>
bool overlap(const HeadRows<T>& x, const Memory& other) {
  if (!overlap(memory_of(outline(x)), other)) return false;
  for (std::size_t h = 0; h < x.heads; ++h) {  // other heads and tensors may lie between them
    if (overlap(memory_of(x.head(h)), other)) return true;
  }
  return false;
}

template <class A, class B>
bool overlap(const HeadRows<A>& a, const HeadRows<B>& b) {
  if (!overlap(memory_of(outline(a)), memory_of(outline(b)))) return false;
  for (std::size_t h = 0; h < b.heads; ++h) {
    if (overlap(a, memory_of(b.head(h)))) return true;
  }
  return false;
}

template <class T>
void check_heads(const char* what, const HeadRows<T>& x) {
  if (x.cols == 0) fail("skim::attend: ", what, " has 0 columns but needs at least 1");
  if (x.rows != 0 && x.data == nullptr) fail("skim::attend: ", what, " is null but has ", x.rows, " rows");
  check_extent(what, x.rows, x.row_stride, sizeof(T));
  check_extent(what, x.heads, x.head_stride, sizeof(T));
}

/// Throws when rows do not divide among sequences as the query says.
template <class Real>
void check_sequences(const BasicLayerQuery<Real>& query, std::size_t sequences) {
  const std::size_t rows = query.rows.rows;
  const auto& row_begin = query.row_begin;
  if (row_begin.empty() ? (sequences == 0 ? rows != 0 : rows % sequences != 0) : row_begin.size() != sequences + 1) {
    fail("skim::attend: ", row_begin.empty() ? rows : row_begin.size() - 1,
         row_begin.empty() ? " rows do not divide among " : " sequences in row_begin but ", sequences,
         " sequences of KV heads");
  }
  for (std::size_t s = 0; s + 1 < row_begin.size(); ++s) {
    if (row_begin[s] > row_begin[s + 1]) {
      fail("skim::attend: row_begin[", s, "] is ", row_begin[s], " but the next is ", row_begin[s + 1]);
    }
  }
  if (!row_begin.empty() && (row_begin.front() != 0 || row_begin.back() != rows)) {
    fail("skim::attend: row_begin runs from ", row_begin.front(), " to ", row_begin.back(), " but there are ", rows,
         " rows");
  }
  if (!query.visible.empty() && query.visible.size() != rows) {
    fail("skim::attend: visible has ", query.visible.size(), " ranges but q has ", rows, " rows");
  }
  if (!query.sequence_ids.empty() && query.sequence_ids.size() != sequences) {
    fail("skim::attend: sequence_ids has ", query.sequence_ids.size(), " entries but there are ", sequences,
         " sequences");
  }
  if (!query.first_position.empty() && query.first_position.size() != sequences) {
    fail("skim::attend: first_position has ", query.first_position.size(), " entries but there are ", sequences,
         " sequences");
  }
  for (std::size_t s = 0; s < query.first_position.size(); ++s) {
    if (query.first_position[s] < 0) {
      fail("skim::attend: first_position[", s, "] is ", query.first_position[s], " but must be at least 0");
    }
  }
}

/// Throws when causal rows would come before the first position: the newest row is at the newest position. A KV head of 0
/// positions gives every row the empty set.
template <class Real, class Kv>
void check_causal(const BasicLayerQuery<Real>& query, const LayerKv<Kv>& kv) {
  if (!query.causal || !query.first_position.empty()) return;  // or the caller says where they are
  for (std::size_t i = 0; i < kv.heads.size(); ++i) {
    const std::size_t s = i / kv.kv_heads, n = static_cast<std::size_t>(kv.heads[i].size());
    const std::size_t rows =
        query.row_begin.empty() ? query.rows.rows / kv.sequences() : query.row_begin[s + 1] - query.row_begin[s];
    if (n != 0 && rows > n) {
      fail("skim::attend: sequence ", s, " has ", rows, " causal rows of q but KV view ", i, " holds ", n,
           " keys: keys and values of all rows must be in the cache first (or causal be false)");
    }
  }
}

/// Throws std::invalid_argument when queries, keys and values do not fit together.
template <class Real, class Kv>
void check_layer_asked(const BasicLayerQuery<Real>& query, const LayerKv<Kv>& kv, Workspace& ws) {
  const auto& q = query.rows;
  if (kv.kv_heads == 0) fail("skim::attend: kv_heads is 0 but must be at least 1");
  if (q.heads == 0 || q.heads % kv.kv_heads != 0) {
    fail("skim::attend: ", q.heads, " query heads cannot share ", kv.kv_heads, " KV heads evenly");
  }
  if (q.heads > kMostColumns) fail("skim::attend: q has ", q.heads, " heads but must have at most ", kMostColumns);
  const std::size_t group = q.heads / kv.kv_heads;
  if (query.grouping == Grouping::kPerGroup && query.first_head % group != 0) {
    fail("skim::attend: first_head is ", query.first_head, " but the ", group,
         " query heads of a KV head select together: it must be a multiple of that (or Grouping::kPerHead)");
  }
  if (kv.heads.size() % kv.kv_heads != 0) {
    fail("skim::attend: ", kv.heads.size(), " KV views are not a multiple of kv_heads, ", kv.kv_heads);
  }
  check_sequences(query, kv.sequences());
  check_rule<Real>(query.logit, q.heads);
  check_heads("q", q);
  for (const Kv& one : kv.heads) {
    check_kv(one, ws.page_marks);
    if (q.cols != one.key_dim()) fail("skim::attend: q has ", q.cols, " columns but keys have ", one.key_dim());
  }
  check_causal(query, kv);
}

/// The same, and that the state does.
template <class Real, class Kv>
void check_layer(const BasicLayerQuery<Real>& query, const LayerKv<Kv>& kv, const BasicLayerState<Real>& state,
                 Workspace& ws) {
  check_layer_asked(query, kv, ws);
  const auto& q = query.rows;
  check_heads("out", state.out);
  if (state.out.rows != q.rows) fail("skim::attend: out has ", state.out.rows, " rows but q has ", q.rows);
  if (state.out.heads != q.heads) fail("skim::attend: out has ", state.out.heads, " heads but q has ", q.heads);
  const auto head_step = static_cast<std::size_t>(std::abs(state.out.head_stride));
  if (q.heads > 1 && head_step < state.out.cols) {
    fail("skim::attend: heads of out overlap: head_stride is ", state.out.head_stride, " but there are ",
         state.out.cols, " columns");
  }
  if (q.rows > 1 && static_cast<std::size_t>(std::abs(state.out.row_stride)) < state.out.cols) {
    fail("skim::attend: rows of out overlap: row_stride is ", state.out.row_stride, " but there are ", state.out.cols,
         " columns");
  }
  const Rows<Real> out = outline(state.out);
  if (q.rows > 1 && q.heads > 1 && static_cast<std::size_t>(std::abs(out.stride)) < out.cols) {
    fail("skim::attend: rows and heads of out overlap: row_stride is ", state.out.row_stride, " and head_stride ",
         state.out.head_stride, " but the inner ones take ", out.cols, " values");
  }
  if (overlap(state.out, q)) fail("skim::attend: out overlaps q");
  Memory lse{};
  if (state.lse != nullptr) lse = memory_of(Rows<Real>{state.lse, 1, q.rows * q.heads});
  if (overlap(state.out, lse)) fail("skim::attend: lse overlaps out: each needs memory of its own");
  if (overlap(q, lse)) fail("skim::attend: lse overlaps q");
  const Memory around = memory_of(out);
  for (const Kv& one : kv.heads) {
    if (state.out.cols != one.value_dim()) {
      fail("skim::attend: out has ", state.out.cols, " columns but values have ", one.value_dim());
    }
    check_apart("lse", lse, one);
    if (overlapped_part(plain(one), around) == nullptr) continue;
    for (std::size_t h = 0; h < q.heads; ++h) check_apart("out", memory_of(state.out.head(h)), one);
  }
}

}  // namespace
}  // namespace skim::inline SKIM_ABI::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // SKIM_ATTEND_CHECK_INL_H_
