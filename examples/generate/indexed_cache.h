// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <tuple>
#include <vector>

#include <skim/skim.h>

#include "index_sets.h"
#include "llama.h"
#include "paged_cache.h"
#include "skim_attention.h"

namespace engine {

/// A cache of keys and values of type T, and beside each KV head one index of each type that grows and shrinks with it.
template <class T, class... Indexes>
class IndexedCache {
 public:
  IndexedCache(const Shape& shape, const AttentionOptions& options)
      : cache_(shape, options.page_size), layers_(shape.layers), kv_heads_(shape.kv_heads) {
    const IndexOptions of{options.segment, planes_for(skim::parse(options.estimator), shape.head_size, options.seed)};
    for (std::size_t i = 0; i < layers_ * kv_heads_; ++i) indexes_.push_back({make_index<Indexes>(of)...});
  }

  void append(std::size_t layer, const Vector& k, const Vector& v) {
    cache_.append(layer, k, v);
    for (std::size_t h = 0; h < kv_heads_; ++h) {
      const auto kv = cache_.head(layer, h);
      std::apply([&](Indexes&... index) { (skim::append(index, kv), ...); }, indexes_of(layer, h));
    }
  }

  /// Keeps the first n tokens of every layer.
  void truncate(std::size_t n) {
    for (std::size_t layer = 0; layer < layers_; ++layer) {
      for (std::size_t h = 0; h < kv_heads_; ++h) {
        const auto kv = cache_.head(layer, h);
        std::apply([&](Indexes&... index) { (skim::truncate(index, kv, static_cast<skim::Position>(n)), ...); },
                   indexes_of(layer, h));
      }
      cache_.truncate(layer, n);
    }
  }

  /// What skim reads: one KV head of one layer with its indexes. Valid until the next append or truncate.
  auto head(std::size_t layer, std::size_t h) const {
    const auto kv = cache_.head(layer, h);
    if constexpr (sizeof...(Indexes) == 0) {
      return kv;
    } else {
      return std::apply([&](const Indexes&... index) { return skim::with_index(kv, index...); }, indexes_of(layer, h));
    }
  }

  /// Of one KV head, on average: keys, values, and each index.
  std::vector<Memory> memory() const {
    const auto row = static_cast<double>(skim::row_values<T>(cache_.head(0, 0).key_dim()) * sizeof(T));
    std::vector<Memory> all = {{"keys", row}, {"values", row}};
    (all.push_back({Indexes::kName, bytes_a_token<Indexes>()}), ...);
    return all;
  }

 private:
  template <class I>
  double bytes_a_token() const {
    double bytes = 0, tokens = 0;
    for (const auto& indexes : indexes_) {
      const I& index = std::get<I>(indexes);
      bytes += static_cast<double>(index.bytes());
      tokens += static_cast<double>(taken_in(index));
    }
    return tokens > 0 ? bytes / tokens : 0;
  }

  auto& indexes_of(std::size_t layer, std::size_t h) { return indexes_[layer * kv_heads_ + h]; }
  const auto& indexes_of(std::size_t layer, std::size_t h) const { return indexes_[layer * kv_heads_ + h]; }

  PagedCache<T> cache_;
  std::size_t layers_;
  std::size_t kv_heads_;
  std::vector<std::tuple<Indexes...>> indexes_;  // [layers, kv_heads]
};

}  // namespace engine
