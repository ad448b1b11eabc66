// SPDX-License-Identifier: Apache-2.0
// Whether two sets of rows share memory: exactly, so that interleaved rows may lie in one buffer.
#ifndef SKIM_CORE_OVERLAP_H_
#define SKIM_CORE_OVERLAP_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <type_traits>

#include "skim/core/kv.h"
#include "skim/core/rows.h"
#include "skim/core/storage.h"

namespace skim::inline SKIM_ABI {

/// Rows as bytes: row i is [first + i * step, first + i * step + length). No two begin at the same place.
struct Memory {
  std::uintptr_t first = 0;
  std::ptrdiff_t step = 1;  // above 0
  std::ptrdiff_t rows = 0;
  std::ptrdiff_t length = 0;

  std::uintptr_t row(std::ptrdiff_t i) const { return first + static_cast<std::uintptr_t>(i * step); }
  std::uintptr_t end() const { return row(rows - 1) + static_cast<std::uintptr_t>(length); }
};

template <class T>
static Memory memory_of(const Rows<T>& x) {
  if (x.rows == 0 || x.cols == 0) return {};
  using Stored = std::remove_const_t<T>;
  const std::ptrdiff_t step = x.stride * static_cast<std::ptrdiff_t>(sizeof(T));
  return {reinterpret_cast<std::uintptr_t>(x.row(step < 0 ? x.rows - 1 : 0)), std::max<std::ptrdiff_t>(std::abs(step), 1),
          step == 0 ? 1 : static_cast<std::ptrdiff_t>(x.rows),
          static_cast<std::ptrdiff_t>(row_values<Stored>(x.cols) * sizeof(T))};
}

/// Whether `a` and `b` share a byte. O(1) when they are apart or have equal steps, as interleaved rows have; else O(the
/// fewer rows).
static inline bool overlap(const Memory& a, const Memory& b) {
  if (a.rows == 0 || b.rows == 0 || a.end() <= b.first || b.end() <= a.first) return false;
  if (a.rows > b.rows) return overlap(b, a);
  const auto floor_of = [](std::ptrdiff_t x, std::ptrdiff_t step) { return x / step - (x % step < 0 ? 1 : 0); };
  if (a.step == b.step) {
    // Row j of b begins `ahead` + (j - i) steps after row i of a: they meet when that is above -b.length, below a.length.
    // If a number of steps does it, one that the rows have does, for neither ends before the other begins.
    const auto ahead = static_cast<std::ptrdiff_t>(b.first - a.first);
    return floor_of(-b.length - ahead, a.step) < floor_of(a.length - 1 - ahead, a.step);
  }
  for (std::ptrdiff_t i = 0; i < a.rows; ++i) {
    // Of the rows of b that begin before this one ends the last reaches furthest.
    const auto before_end = static_cast<std::ptrdiff_t>(a.row(i) - b.first) + a.length;
    if (before_end <= 0) continue;
    const std::uintptr_t last = b.row(std::min((before_end - 1) / b.step, b.rows - 1));
    if (last + static_cast<std::uintptr_t>(b.length) > a.row(i)) return true;
  }
  return false;
}

template <class A, class B>
static bool overlap(const Rows<A>& a, const Rows<B>& b) {
  return overlap(memory_of(a), memory_of(b));
}

/// What of a KV head shares memory with x: "keys", "values" or null. Of a user's own KV type nothing is known.
template <class Kv>
static const char* overlapped_part(const Kv&, const Memory&) {
  return nullptr;
}

template <class K, class V>
static const char* overlapped_part(const ContiguousKv<K, V>& kv, const Memory& x) {
  return overlap(memory_of(kv.keys), x) ? "keys" : overlap(memory_of(kv.values), x) ? "values" : nullptr;
}

/// Page by page, and only of a pool that x lies in the midst of.
template <class K, class V>
static const char* overlapped_part(const PagedKv<K, V>& kv, const Memory& x) {
  const auto meets = [&](const auto& pages) {
    using T = std::remove_cvref_t<decltype(*pages.data)>;
    const std::size_t used = kv.page_size == 0 ? 0 : kv.n / kv.page_size + (kv.n % kv.page_size != 0 ? 1 : 0);
    if (used == 0 || kv.pool_pages == 0) return false;
    const auto page = static_cast<std::ptrdiff_t>(kv.pool_pages - 1), row = static_cast<std::ptrdiff_t>(kv.page_size - 1);
    const auto at = [&](std::ptrdiff_t p, std::ptrdiff_t r) { return reinterpret_cast<std::uintptr_t>(pages.row(p, r)); };
    const auto [first, last] = std::minmax({at(0, 0), at(0, row), at(page, 0), at(page, row)});
    if (x.rows == 0 || x.end() <= first || last + row_values<T>(pages.cols) * sizeof(T) <= x.first) return false;
    for (std::size_t p = 0; p < used; ++p) {
      const std::size_t rows = std::min(kv.page_size, kv.n - p * kv.page_size);
      const Rows<const T> used_rows{pages.row(kv.table[p], 0), rows, pages.cols, pages.row_stride};
      if (overlap(memory_of(used_rows), x)) return true;
    }
    return false;
  };
  return meets(kv.keys) ? "keys" : meets(kv.values) ? "values" : nullptr;
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_OVERLAP_H_
