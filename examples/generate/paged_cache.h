// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <skim/core/kv.h>
#include <skim/core/storage.h>

#include "error.h"
#include "llama.h"

namespace engine {

/// The keys and values of one sequence in all layers, stored as `T`: float, skim::F16, skim::BF16 or skim::I8.
/// Memory is one pool of pages that grows; all layers draw from it, so that a layer's pages are
/// scattered as they are in an engine that serves many sequences. A page holds `page_size` tokens
/// of one layer: keys [kv_heads, page_size, row], then values likewise; a row is head_size T, and a scale with I8.
template <class T>
class PagedCache {
 public:
  explicit PagedCache(const Shape& shape, std::size_t page_size = 16)
      : kv_heads_(shape.kv_heads),
        head_size_(shape.head_size),
        row_(skim::row_values<T>(shape.head_size)),
        page_size_(page_size),
        layers_(shape.layers) {
    if (page_size == 0) fail("paged cache: a page of 0 tokens");
  }

  /// Tokens held in `layer`.
  std::size_t size(std::size_t layer) const { return layers_[layer].size; }

  /// Appends one token. k, v: [kv_heads * head_size]. Invalidates views.
  void append(std::size_t layer, const Vector& k, const Vector& v) {
    Layer& to = layers_[layer];
    const std::size_t row = to.size % page_size_;
    if (row == 0) to.table.push_back(new_page());
    T* page = pool_.data() + static_cast<std::size_t>(to.table.back()) * page_values();
    for (std::size_t head = 0; head < kv_heads_; ++head) {
      const std::size_t at = head_offset(head) + row * row_;
      skim::from_floats(k.data() + head * head_size_, head_size_, page + at);
      skim::from_floats(v.data() + head * head_size_, head_size_, page + values_offset() + at);
    }
    ++to.size;
  }

  /// Keeps the first n tokens of `layer`; the pages of the others can be used again. Invalidates views.
  void truncate(std::size_t layer, std::size_t n) {
    Layer& from = layers_[layer];
    if (n > from.size) fail("paged cache: ", from.size, " tokens cannot be cut to ", n);
    const std::size_t kept = (n + page_size_ - 1) / page_size_;
    free_.insert(free_.end(), from.table.begin() + static_cast<std::ptrdiff_t>(kept), from.table.end());
    from.table.resize(kept);
    from.size = n;
  }

  /// What skim reads: one KV head of one layer, where it lies.
  skim::PagedKv<T> head(std::size_t layer, std::size_t kv_head) const {
    const Layer& from = layers_[layer];
    const T* keys = pool_.data() + head_offset(kv_head);
    const auto page_stride = static_cast<std::ptrdiff_t>(page_values());
    return {.n = from.size,
            .page_size = page_size_,
            .table = from.table,
            .pool_pages = pages_,
            .keys = {keys, head_size_, page_stride},
            .values = {keys + values_offset(), head_size_, page_stride}};
  }

 private:
  struct Layer {
    std::vector<std::int32_t> table;  // its pages, oldest first
    std::size_t size = 0;
  };

  std::size_t head_offset(std::size_t head) const { return head * page_size_ * row_; }
  std::size_t values_offset() const { return head_offset(kv_heads_); }
  std::size_t page_values() const { return 2 * values_offset(); }

  std::int32_t new_page() {
    if (!free_.empty()) {
      const std::int32_t page = free_.back();
      free_.pop_back();
      return page;
    }
    if (pages_ == std::numeric_limits<std::int32_t>::max()) fail("paged cache: out of page ids");
    pool_.resize(pool_.size() + page_values());
    return static_cast<std::int32_t>(pages_++);
  }

  std::size_t kv_heads_;
  std::size_t head_size_;
  std::size_t row_;  // T from one row of a head to the next
  std::size_t page_size_;
  std::vector<Layer> layers_;
  std::vector<T> pool_;
  std::size_t pages_ = 0;
  std::vector<std::int32_t> free_;  // pages that no table names
};

}  // namespace engine
