// SPDX-License-Identifier: Apache-2.0
// Attention on a cache of one type, with the indexes it needs. Slow to compile, so each type has a file of its own.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include <skim/skim.h>

#include "counting_kv.h"
#include "index_sets.h"
#include "indexed_cache.h"
#include "skim_attention.h"

namespace engine {

/// Adds up what is read.
struct AddReads {
  Density* density;

  void operator()(const skim::Query&, const Reads& reads, const skim::Selection&) const {
    const auto held = static_cast<double>(reads.held);
    ++density->calls;
    density->key_sum += static_cast<double>(reads.keys) / held;
    density->value_sum += static_cast<double>(reads.values) / held;
    density->index_sum += static_cast<double>(reads.index_bytes) / (held * static_cast<double>(reads.position_bytes));
  }
};

template <class T, class... Indexes>
class SkimAttention final : public SparseAttention {
 public:
  SkimAttention(const Shape& shape, const AttentionOptions& options)
      : shape_(shape),
        seed_(options.seed),
        sequence_(options.sequence),
        estimator_(skim::stack(StartCount{&marks_}, skim::parse(options.estimator),
                               StopCount<AddReads>{&marks_, {&density_}})),
        cache_(shape, options.page_size, &marks_) {}

  SkimAttention(const SkimAttention&) = delete;  // estimator_ points at density_ and marks_
  SkimAttention& operator=(const SkimAttention&) = delete;

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
    skim::attend(estimator_, query, kv, state, {.workspaces = {&workspace_, 1}});
    return out;
  }

  void truncate(std::size_t n) override { cache_.truncate(n); }
  Density density() const override { return density_; }
  std::vector<Memory> memory() const override { return cache_.memory(); }

 private:
  using Cache = IndexedCache<T, Indexes...>;
  using KvHead = decltype(std::declval<const Cache&>().head(0, 0));

  Shape shape_;
  std::uint64_t seed_;
  std::uint64_t sequence_;
  Density density_;
  KeyMarks marks_;
  skim::Stack<StartCount, skim::StageList, StopCount<AddReads>> estimator_;
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
