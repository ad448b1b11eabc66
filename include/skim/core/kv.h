// SPDX-License-Identifier: Apache-2.0
// Keys and values of one KV head, over the caller's memory.
#ifndef SKIM_CORE_KV_H_
#define SKIM_CORE_KV_H_

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "skim/core/position.h"
#include "skim/core/rows.h"
#include "skim/core/storage.h"
#include "skim/core/view.h"

namespace skim::inline SKIM_ABI {

/// What a kernel needs of the keys and values of one KV head. `key(i)` and `value(i)` point at
/// rows of key_dim() and value_dim() values (see I8 for a quantised row); K and V may be stored in different types.
template <class Kv>
concept KvHead = requires(const Kv& kv, Position i) {
  typename Kv::Key;
  typename Kv::Value;
  { kv.size() } -> std::same_as<Position>;
  { kv.key_dim() } -> std::same_as<std::size_t>;
  { kv.value_dim() } -> std::same_as<std::size_t>;
  { kv.key(i) } -> std::same_as<const typename Kv::Key*>;
  { kv.value(i) } -> std::same_as<const typename Kv::Value*>;
};

/// One KV head in two arrays. keys: [n, d], values: [n, d_v], each with its own row stride, so rows of
/// K and V may also be interleaved in one buffer.
template <class K, class V = K>
struct ContiguousKv {
  using Key = K;
  using Value = V;

  Rows<const K> keys;
  Rows<const V> values;

  Position size() const { return static_cast<Position>(keys.rows); }
  std::size_t key_dim() const { return keys.cols; }
  std::size_t value_dim() const { return values.cols; }
  const K* key(Position i) const { return keys.row(static_cast<std::size_t>(i)); }
  const V* value(Position i) const { return values.row(static_cast<std::size_t>(i)); }
};

template <class K, class V>
ContiguousKv(Rows<K>, Rows<V>) -> ContiguousKv<std::remove_const_t<K>, std::remove_const_t<V>>;

/// Rows of a pool of pages: row r of page p starts at data + p * page_stride + r * row_stride.
/// Strides are in T.
template <class T>
struct Pages {
  const T* data = nullptr;
  std::size_t cols = 0;
  std::ptrdiff_t page_stride = 0;
  std::ptrdiff_t row_stride = static_cast<std::ptrdiff_t>(row_values<T>(cols));

  const T* row(std::ptrdiff_t page, std::ptrdiff_t r) const {
    return data + page * page_stride + r * row_stride;
  }
};

/// One KV head in pages: position i is row i % page_size of page table[i / page_size]. K and V share
/// the table; their rows may be adjacent (one pool, two offsets) or apart. Any page size.
template <class K, class V = K>
struct PagedKv {
  using Key = K;
  using Value = V;

  std::size_t n = 0;                      ///< positions held, at most table.size() * page_size
  std::size_t page_size = 0;              ///< positions a page holds
  View<const std::int32_t> table{};       ///< page ids, oldest first
  std::size_t pool_pages = 0;             ///< pages in the pool: every id is below it
  Pages<K> keys{};
  Pages<V> values{};

  Position size() const { return static_cast<Position>(n); }
  std::size_t key_dim() const { return keys.cols; }
  std::size_t value_dim() const { return values.cols; }
  const K* key(Position i) const {
    const auto at = static_cast<std::size_t>(i);
    return keys.row(table[at / page_size], static_cast<std::ptrdiff_t>(at % page_size));
  }
  const V* value(Position i) const {
    const auto at = static_cast<std::size_t>(i);
    return values.row(table[at / page_size], static_cast<std::ptrdiff_t>(at % page_size));
  }
};

/// The keys and values of a KV head, without what travels beside them.
template <class Kv>
constexpr const auto& plain(const Kv& kv) {
  if constexpr (requires { typename Kv::Base; }) {
    return kv.base;
  } else {
    return kv;
  }
}
template <class Kv>
using PlainKv = std::remove_cvref_t<decltype(plain(std::declval<const Kv&>()))>;

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_KV_H_
