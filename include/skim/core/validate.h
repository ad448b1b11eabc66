// SPDX-License-Identifier: Apache-2.0
// What a call checks before anything is written: O(heads + pages + list) against O(n d) of work.
//
// Every number that comes in is a parameter or data.
//
// Parameters (scale, soft cap, ALiBi slopes, budgets, masses; sizes, strides, positions, threads) are checked in the type
// they are used in, float for float queries, before anything is written. One that is out of range is a
// std::invalid_argument whose text names it, both numbers and the mend.
//
// Arithmetic is that of the default rounding mode. Subnormal numbers may be flushed to zero.
//
// Data (q, keys, values, sink logits, the caller's own scores) may be anything. It is never an error, and never dropped:
//
//   nothing is visible      out = 0 and lse = -inf, whatever the row of q holds
//   NaN in a row of q       out and lse of that head are NaN, from every estimator; the other heads of its group select,
//                           bit for bit, as if it were not there
//   a logit of NaN          ranks last, and no sampler gives it a probability: it reaches the output where it is selected,
//                           and where no other logit is above -inf
//   a logit of -inf         the position might as well not be there
//   a logit of +inf         one is the answer: its value, lse = +inf. Of several there is no limit: NaN
//   a value not finite      reaches its column in every head that selects it. The mean of finite values is finite,
//                           however large they are; a value of int8 that no float holds (scale times code) counts as the
//                           largest float or as infinite
//   a sink logit            -inf: no sink. +inf: out = 0, lse = +inf. NaN: out and lse of that head are NaN
//   an external score       -inf: never selected. NaN: ranks last. +inf: first, for a sampler like the largest finite one
#ifndef SKIM_CORE_VALIDATE_H_
#define SKIM_CORE_VALIDATE_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <type_traits>

#include "skim/core/buffer.h"
#include "skim/core/error.h"
#include "skim/core/executor.h"
#include "skim/core/kv.h"
#include "skim/core/limits.h"
#include "skim/core/overlap.h"
#include "skim/core/query.h"
#include "skim/core/selection.h"
#include "skim/core/state.h"
#include "skim/core/storage.h"

namespace skim::inline SKIM_ABI {

/// Throws when `rows` steps of `stride` values of `bytes` each leave the address space.
inline void check_extent(const char* what, std::size_t rows, std::ptrdiff_t stride, std::size_t bytes) {
  std::ptrdiff_t extent = 0;
  if (rows > static_cast<std::size_t>(PTRDIFF_MAX) ||
      __builtin_mul_overflow(static_cast<std::ptrdiff_t>(rows), stride, &extent) ||
      __builtin_mul_overflow(extent, static_cast<std::ptrdiff_t>(bytes), &extent)) {
    fail("skim::attend: ", what, ": ", rows, " rows with a stride of ", stride, " overflow the address space");
  }
}

template <class T>
void check_rows(const char* what, const Rows<T>& rows) {
  if (rows.cols == 0) fail("skim::attend: ", what, " has 0 columns but needs at least 1");
  if (rows.rows != 0 && rows.data == nullptr) fail("skim::attend: ", what, " is null but has ", rows.rows, " rows");
  check_extent(what, rows.rows, rows.stride, sizeof(T));
  check_extent(what, 1, static_cast<std::ptrdiff_t>(rows.cols), sizeof(T));
}

/// Throws when steps of `stride` from row to row would run one row into the scale of another. Only quantised
/// rows have one: rows of numbers may overlap. A stride of 0 repeats one row.
template <class T>
void check_stride(const char* what, std::size_t rows, std::ptrdiff_t stride, std::size_t cols) {
  if constexpr (std::is_same_v<T, I8>) {
    const std::size_t least = row_values<T>(cols);
    if (rows > 1 && stride != 0 && static_cast<std::size_t>(std::abs(stride)) < least) {
      fail("skim::attend: ", what, " of int8 overlap: stride is ", stride, " but ", cols,
           " bytes and their scale take ", least);
    }
  }
}

/// Throws when a KV head is larger than what calls can count the bytes of: rows with a stride of 0 may be any number.
template <class Kv>
void check_limits(const Kv& kv) {
  check_between("skim::attend: number of keys", kv.size(), Position{0}, kMostPositions);
  check_between("skim::attend: columns of the keys", kv.key_dim(), std::size_t{1}, kMostColumns);
  check_between("skim::attend: columns of the values", kv.value_dim(), std::size_t{1}, kMostColumns);
}

/// Shapes of a KV head. A user's own KV type is checked for its dimensions only.
template <class Kv>
void check_kv(const Kv& kv, Buffer<std::uint64_t>&) {
  if (kv.key_dim() == 0) fail("skim::attend: keys have 0 columns but need at least 1");
  if (kv.value_dim() == 0) fail("skim::attend: values have 0 columns but need at least 1");
  check_limits(kv);
}

template <class K, class V>
void check_kv(const ContiguousKv<K, V>& kv, Buffer<std::uint64_t>&) {
  check_rows("keys", kv.keys);
  check_rows("values", kv.values);
  if (kv.keys.rows != kv.values.rows) {
    fail("skim::attend: there are ", kv.keys.rows, " keys but ", kv.values.rows, " values");
  }
  check_stride<K>("keys", kv.keys.rows, kv.keys.stride, kv.keys.cols);
  check_stride<V>("values", kv.values.rows, kv.values.stride, kv.values.cols);
  check_limits(kv);
}

/// Throws when pages that follow each other begin at the same place: page_stride has been forgotten.
template <class T>
void check_page_stride(const char* what, const Pages<T>& pages, std::size_t page_size, std::size_t used) {
  if (used > 1 && pages.page_stride == 0) {
    fail("skim::attend: page_stride of ", what, " is 0 but ", used, " pages are in use: set it (",
         page_size, " * ", pages.row_stride, " where pages of page_size rows lie one after the other)");
  }
}

/// `seen`: scratch, a bit for each page of the pool.
template <class K, class V>
static void check_kv(const PagedKv<K, V>& kv, Buffer<std::uint64_t>& seen) {
  if (kv.keys.cols == 0) fail("skim::attend: keys have 0 columns but need at least 1");
  if (kv.values.cols == 0) fail("skim::attend: values have 0 columns but need at least 1");
  if (kv.page_size == 0) fail("skim::attend: page_size is 0 but must be at least 1");
  const std::size_t used = kv.n / kv.page_size + (kv.n % kv.page_size != 0 ? 1 : 0);
  if (used > kv.table.size()) {
    fail("skim::attend: ", kv.n, " positions need ", used, " pages of ", kv.page_size, " but the table has ",
         kv.table.size());
  }
  if (kv.n != 0 && (kv.keys.data == nullptr || kv.values.data == nullptr)) {
    fail("skim::attend: the page pool is null but ", kv.n, " positions are in it");
  }
  check_limits(kv);
  check_between("skim::attend: pool_pages", kv.pool_pages, std::size_t{0}, kMostPages);
  check_page_stride("keys", kv.keys, kv.page_size, used);
  check_page_stride("values", kv.values, kv.page_size, used);
  check_extent("key pages", kv.pool_pages, kv.keys.page_stride, sizeof(K));
  check_extent("value pages", kv.pool_pages, kv.values.page_stride, sizeof(V));
  check_extent("rows of a key page", kv.page_size, kv.keys.row_stride, sizeof(K));
  check_extent("rows of a value page", kv.page_size, kv.values.row_stride, sizeof(V));
  check_stride<K>("rows of a key page", kv.page_size, kv.keys.row_stride, kv.keys.cols);
  check_stride<V>("rows of a value page", kv.page_size, kv.values.row_stride, kv.values.cols);
  check_stride<K>("key pages", used, kv.keys.page_stride, kv.keys.cols);
  check_stride<V>("value pages", used, kv.values.page_stride, kv.values.cols);
  seen.resize(kv.pool_pages / 64 + 1);
  std::memset(seen.data(), 0, seen.size() * sizeof(std::uint64_t));
  for (std::size_t p = 0; p < used; ++p) {
    const std::int32_t id = kv.table[p];
    if (id < 0 || static_cast<std::size_t>(id) >= kv.pool_pages) {
      fail("skim::attend: entry ", p, " of the page table is ", id, " but the pool has ", kv.pool_pages, " pages");
    }
    std::uint64_t& word = seen[static_cast<std::size_t>(id) / 64];
    const std::uint64_t bit = std::uint64_t{1} << (id % 64);
    if (word & bit) fail("skim::attend: entry ", p, " of the page table repeats page ", id);
    word |= bit;
  }
}

/// How logits are made, in the arithmetic of Real, of `heads` query heads. Numbers that Real has not, or only as
/// subnormal ones, which a machine may take for 0, are refused: to a logit they are 0, infinite or nothing.
template <class Real>
static void check_rule(const LogitRule& rule, std::size_t heads) {
  using Limits = std::numeric_limits<Real>;
  const char* type = sizeof(Real) == 4 ? "float" : "double";
  constexpr Real kLeast = Limits::min();
  if (rule.scale && !(std::abs(*rule.scale) >= kLeast && std::abs(*rule.scale) <= Limits::max())) {
    fail("skim::attend: scale is ", *rule.scale, " but must be finite and other than 0 in ", type, ": of a size between ",
         kLeast, " and ", Limits::max(), " (none given: 1 / sqrt(d))");
  }
  constexpr Real kMost = Limits::epsilon() / kLeast;  // x / soft_cap has to keep the digits of x
  if (rule.soft_cap != 0 && !(rule.soft_cap >= kLeast && rule.soft_cap <= kMost)) {
    fail("skim::attend: soft_cap is ", rule.soft_cap, " but must be at least 0, and in ", type, " between ", kLeast,
         " and ", kMost, " (0: none)");
  }
  for (std::size_t h = 0; rule.alibi_slopes != nullptr && h < heads; ++h) {
    if (!std::isfinite(rule.alibi_slopes[h])) {
      fail("skim::attend: ALiBi slope ", h, " of ", heads, " is ", rule.alibi_slopes[h],
           " but must be finite (0: no distance)");
    }
  }
}

/// Threads that can run.
inline void check_executor(const Executor& executor) {
  if (executor.threads == 0) {
    fail("skim::attend: threads of the executor is 0 but must be at least 1 (1 without run: serial)");
  }
  if (executor.threads > 1 && executor.run == nullptr) {
    fail("skim::attend: the executor has ", executor.threads, " threads but run is null: set run, or threads to 1");
  }
}

template <class Real, class Kv>
static void check_query(const BasicQuery<Real>& q, const Kv& kv) {
  check_rows("q", q.rows);
  if (q.rows.rows == 0) fail("skim::attend: q has 0 rows but needs at least 1");
  if (q.rows.rows > kMostColumns) {
    fail("skim::attend: q has ", q.rows.rows, " rows but a KV head takes at most ", kMostColumns);
  }
  if (q.rows.cols != kv.key_dim()) {
    fail("skim::attend: q has ", q.rows.cols, " columns but keys have ", kv.key_dim());
  }
  if (q.position < 0 && q.position != kNewest) {
    fail("skim::attend: position is ", q.position, " but must be at least 0 (or kNewest)");
  }
  check_rule<Real>(q.logit, q.heads());
}

/// Throws when an output lies on what the call reads of a KV head.
template <class Kv>
static void check_apart(const char* what, const Memory& output, const Kv& kv) {
  if (const char* part = overlapped_part(plain(kv), output)) {
    fail("skim::attend: ", what, " overlaps ", part, ": what is written needs memory of its own");
  }
}

/// lse as rows of one column.
template <class Real>
static Rows<Real> lse_rows(const BasicStateView<Real>& state) {
  return {state.lse, state.out.rows, 1, state.lse_stride};
}

template <class Real, class Kv>
static void check_state(const BasicStateView<Real>& state, const BasicQuery<Real>& q, const Kv& kv) {
  check_rows("out", state.out);
  if (state.out.rows != q.heads()) {
    fail("skim::attend: out has ", state.out.rows, " rows but q has ", q.heads());
  }
  if (state.out.cols != kv.value_dim()) {
    fail("skim::attend: out has ", state.out.cols, " columns but values have ", kv.value_dim());
  }
  if (q.heads() > 1 && static_cast<std::size_t>(std::abs(state.out.stride)) < state.out.cols) {
    fail("skim::attend: rows of out overlap: stride is ", state.out.stride, " but there are ", state.out.cols,
         " columns");
  }
  if (state.lse == nullptr && q.heads() != 0) fail("skim::attend: lse is null but q has ", q.heads(), " rows");
  if (q.heads() > 1 && state.lse_stride == 0) fail("skim::attend: lse_stride is 0 but q has ", q.heads(), " rows");
  if (overlap(state.out, q.rows)) fail("skim::attend: out overlaps q");
  const Memory out = memory_of(state.out), lse = memory_of(lse_rows(state));
  if (overlap(lse, out)) fail("skim::attend: lse overlaps out: each needs memory of its own");
  if (overlap(lse, memory_of(q.rows))) fail("skim::attend: lse overlaps q");
  check_apart("out", out, kv);
  check_apart("lse", lse, kv);
}

/// A selection in the form `attend` accepts: both lists ascending, no position twice, all visible,
/// log weights finite. `summary_rows`: of the page means that the KV carries; summaries are ascending rows of them.
static inline void check_selection(const Selection& selection, Span visible, Position summary_rows = 0) {
  const auto& spans = selection.spans();
  const auto& picks = selection.picks();
  Position end = visible.first;
  for (std::size_t s = 0; s < spans.size(); ++s) {
    if (spans[s].first < end || spans[s].last > visible.last) {
      fail("skim::attend: span ", s, " of the selection is [", spans[s].first, ", ", spans[s].last,
           ") but must lie in [", end, ", ", visible.last, ") (ascending, disjoint, visible)");
    }
    end = spans[s].last;
  }
  std::size_t s = 0;
  Position next = visible.first;
  for (std::size_t p = 0; p < picks.size(); ++p) {
    const Position at = picks[p].position;
    if (at < next || at >= visible.last) {
      fail("skim::attend: pick ", p, " of the selection is position ", at, " but must lie in [", next, ", ",
           visible.last, ") (ascending, none twice, visible)");
    }
    if (!std::isfinite(picks[p].log_weight)) {
      fail("skim::attend: pick ", p, " of the selection (position ", at, ") has log weight ", picks[p].log_weight,
           " but must have a finite one");
    }
    while (s < spans.size() && spans[s].last <= at) ++s;
    if (s < spans.size() && spans[s].contains(at)) {
      fail("skim::attend: pick ", p, " of the selection is position ", at, " which span ", s, " [", spans[s].first,
           ", ", spans[s].last, ") holds already");
    }
    next = at + 1;
  }
  Position row = 0;
  for (std::size_t p = 0; p < selection.summaries().size(); ++p) {
    const Pick& summary = selection.summaries()[p];
    if (summary.position < row || summary.position >= summary_rows) {
      fail("skim::attend: summary ", p, " of the selection is row ", summary.position, " but must lie in [", row, ", ",
           summary_rows, ") (ascending, none twice, of the page means that the KV carries)");
    }
    if (!std::isfinite(summary.log_weight)) {
      fail("skim::attend: summary ", p, " of the selection (row ", summary.position, ") has log weight ",
           summary.log_weight, " but must have a finite one");
    }
    row = summary.position + 1;
  }
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_VALIDATE_H_
