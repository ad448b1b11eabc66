// SPDX-License-Identifier: Apache-2.0
// Where do the rows lie? Copies of a problem with strides of their own, or in shuffled pages. All the
// memory between the rows is NaN, so that a result that reads it cannot be right.
#ifndef SKIM_TESTS_SUPPORT_LAYOUTS_H_
#define SKIM_TESTS_SUPPORT_LAYOUTS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "support/problem.h"

namespace skim::test {

/// K and V in one buffer each, rows `gap` values apart from each other.
template <class K, class V>
class Strided {
 public:
  Strided(const Problem<K, V>& p, std::size_t key_gap, std::size_t value_gap)
      : shape_(p.shape),
        key_stride_(row_values<K>(p.shape.d) + key_gap),
        value_stride_(row_values<V>(p.shape.d_v) + value_gap) {
    // Exactly up to the end of the last row.
    keys_.assign(shape_.n == 0 ? 0 : shape_.n * key_stride_ - key_gap, poison<K>());
    values_.assign(shape_.n == 0 ? 0 : shape_.n * value_stride_ - value_gap, poison<V>());
    for (std::size_t i = 0; i < shape_.n; ++i) {
      std::copy_n(row_at(p.keys, i, shape_.d), row_values<K>(shape_.d), keys_.data() + i * key_stride_);
      std::copy_n(row_at(p.values, i, shape_.d_v), row_values<V>(shape_.d_v), values_.data() + i * value_stride_);
    }
  }

  ContiguousKv<K, V> kv() const {
    return {{keys_.data(), shape_.n, shape_.d, static_cast<std::ptrdiff_t>(key_stride_)},
            {values_.data(), shape_.n, shape_.d_v, static_cast<std::ptrdiff_t>(value_stride_)}};
  }

 private:
  Shape shape_;
  std::size_t key_stride_, value_stride_;
  std::vector<K> keys_;
  std::vector<V> values_;
};

enum class Adjacency {
  kApart,     // one pool for K, another for V
  kAdjacent,  // the K row and the V row of a position beside each other
};

/// K and V in the pages of a pool that has a few pages more than are used, in shuffled order.
template <class K, class V>
class InPages {
 public:
  InPages(const Problem<K, V>& p, std::size_t page_size, Adjacency adjacency, std::uint64_t seed = 1)
      : shape_(p.shape), page_size_(page_size), adjacency_(adjacency) {
    const std::size_t used = (shape_.n + page_size - 1) / page_size;
    pages_ = used + 3;
    std::vector<std::int32_t> ids(pages_);
    std::iota(ids.begin(), ids.end(), 0);
    std::shuffle(ids.begin(), ids.end(), std::mt19937_64(seed));
    table_.assign(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(used));

    // Bytes from one row to the next, and from the start of a row to its values.
    constexpr std::size_t kUnit = std::max(sizeof(K), sizeof(V));
    const auto whole = [](std::size_t bytes) { return (bytes + kUnit - 1) / kUnit * kUnit; };
    const std::size_t key_bytes = whole(row_values<K>(shape_.d) * sizeof(K));
    const std::size_t value_bytes = whole(row_values<V>(shape_.d_v) * sizeof(V));
    const bool beside = adjacency == Adjacency::kAdjacent;
    key_row_ = beside ? key_bytes + value_bytes : key_bytes;
    value_row_ = beside ? key_bytes + value_bytes : value_bytes;
    value_offset_ = beside ? key_bytes : 0;
    keys_.resize(pages_ * page_size * key_row_);
    values_.resize(beside ? 0 : pages_ * page_size * value_row_);

    poison_all();
    for (std::size_t i = 0; i < shape_.n; ++i) {
      std::memcpy(key_at(i), row_at(p.keys, i, shape_.d), row_values<K>(shape_.d) * sizeof(K));
      std::memcpy(value_at(i), row_at(p.values, i, shape_.d_v), row_values<V>(shape_.d_v) * sizeof(V));
    }
  }

  PagedKv<K, V> kv() const {
    const auto rows = [this](const std::byte* data, std::size_t cols, std::size_t row, auto zero) {
      using T = decltype(zero);
      const std::size_t stride = row / sizeof(T);
      return Pages<T>{reinterpret_cast<const T*>(data), cols,
                      static_cast<std::ptrdiff_t>(stride * page_size_), static_cast<std::ptrdiff_t>(stride)};
    };
    PagedKv<K, V> kv;
    kv.n = shape_.n;
    kv.page_size = page_size_;
    kv.table = table_;
    kv.pool_pages = pages_;
    kv.keys = rows(keys_.data(), shape_.d, key_row_, K{});
    kv.values = rows(value_pool() + value_offset_, shape_.d_v, value_row_, V{});
    return kv;
  }

  std::vector<std::int32_t>& table() { return table_; }

 private:
  void poison_all() {
    for (std::size_t r = 0; r < pages_ * page_size_; ++r) {
      std::fill_n(reinterpret_cast<K*>(keys_.data() + r * key_row_), row_values<K>(shape_.d), poison<K>());
      std::fill_n(reinterpret_cast<V*>(value_pool() + value_offset_ + r * value_row_), row_values<V>(shape_.d_v),
                  poison<V>());
    }
  }
  std::size_t slot(std::size_t i) const {
    return static_cast<std::size_t>(table_[i / page_size_]) * page_size_ + i % page_size_;
  }
  std::byte* key_at(std::size_t i) { return keys_.data() + slot(i) * key_row_; }
  std::byte* value_at(std::size_t i) { return value_pool() + value_offset_ + slot(i) * value_row_; }
  std::byte* value_pool() { return adjacency_ == Adjacency::kAdjacent ? keys_.data() : values_.data(); }
  const std::byte* value_pool() const {
    return adjacency_ == Adjacency::kAdjacent ? keys_.data() : values_.data();
  }

  Shape shape_;
  std::size_t page_size_;
  Adjacency adjacency_;
  std::size_t pages_ = 0;
  std::size_t key_row_ = 0, value_row_ = 0, value_offset_ = 0;
  std::vector<std::int32_t> table_;
  std::vector<std::byte> keys_, values_;
};

}  // namespace skim::test

#endif  // SKIM_TESTS_SUPPORT_LAYOUTS_H_
