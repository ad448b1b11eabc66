// SPDX-License-Identifier: Apache-2.0
// Attention on a cache of one type, with the indexes it needs. Slow to compile, so each type has a file of its own.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include <skim/skim.h>

#include "index_sets.h"
#include "indexed_cache.h"
#include "skim_attention.h"

namespace engine {

template <class T, class... Indexes>
class SkimAttention final : public SparseAttention {
 public:
  SkimAttention(const Shape& shape, const AttentionOptions& options)
      : shape_(shape),
        seed_(options.seed),
        sequence_(options.sequence),
        estimator_(skim::parse(options.estimator)),
        cache_(shape, options) {}

  Vector attend(std::size_t layer, const Vector& q, const Vector& k, const Vector& v) override {
    cache_.append(layer, k, v);
    kv_heads_.clear();
    for (std::size_t h = 0; h < shape_.kv_heads; ++h) kv_heads_.push_back(cache_.head(layer, h));

    // A batch of one sequence with one new token.
    Vector out(q.size());
    const skim::LayerQuery query{
        .rows = {q.data(), 1, shape_.heads, shape_.head_size},
        .stream = {.seed = seed_, .layer = static_cast<std::uint32_t>(layer)},
        .sequence_ids = {&sequence_, 1},
    };
    const skim::LayerKv<KvHead> kv{kv_heads_, shape_.kv_heads};
    const skim::LayerState state{{out.data(), 1, shape_.heads, shape_.head_size}};
    workspace_.reads = {};
    skim::attend(estimator_, query, kv, state, {.workspaces = {&workspace_, 1}});
    add_reads(static_cast<double>(kv_heads_[0].size()));
    return out;
  }

  void truncate(std::size_t n) override { cache_.truncate(n); }
  Density density() const override { return density_; }
  std::vector<Memory> memory() const override { return cache_.memory(); }

 private:
  using Cache = IndexedCache<T, Indexes...>;
  using KvHead = decltype(std::declval<const Cache&>().head(0, 0));

  /// What a call for one token has read of heads that hold n positions.
  void add_reads(double n) {
    density_.calls += shape_.kv_heads;
    density_.key_sum += static_cast<double>(workspace_.reads.keys) / n;
    density_.value_sum += static_cast<double>(workspace_.reads.values) / n;
    const auto row_bytes = static_cast<double>(skim::row_values<T>(shape_.head_size) * sizeof(T));
    density_.index_sum += static_cast<double>(workspace_.reads.index_bytes) / (2 * n * row_bytes);
  }

  Shape shape_;
  std::uint64_t seed_;
  std::uint64_t sequence_;
  Density density_;
  skim::StageList estimator_;
  Cache cache_;
  std::vector<KvHead> kv_heads_;  // of the current layer
  skim::Workspace workspace_;
};

/// The attention on a cache of T.
template <class T>
std::unique_ptr<SparseAttention> make_attention_on(const Shape& shape, const AttentionOptions& options) {
  const auto make = [&]<class... Indexes>(IndexSet<Indexes...>) -> std::unique_ptr<SparseAttention> {
    return std::make_unique<SkimAttention<T, Indexes...>>(shape, options);
  };
  return with_indexes_for(skim::sources(skim::parse(options.estimator)), make, EveryIndex{});
}

}  // namespace engine
