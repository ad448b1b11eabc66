// SPDX-License-Identifier: Apache-2.0
// What an estimator that goes by indexes reads of keys and values, as counted, and what it finds.
#pragma once

#include "bench/indexes.h"
#include "bench/layer_call.h"

namespace skim_bench {

struct Counted {
  Coverage rows{};
  /// Share of the positions of exact top-k that are attended to; -1: there is no budget to compare with.
  double recall = -1;
};

/// Keys and values that note whose key is asked for.
struct CountingKv {
  using Key = skim::BF16;
  using Value = skim::BF16;

  skim::ContiguousKv<skim::BF16> kv;
  std::vector<bool>* read;

  skim::Position size() const { return kv.size(); }
  std::size_t key_dim() const { return kv.key_dim(); }
  std::size_t value_dim() const { return kv.value_dim(); }
  const Key* key(skim::Position i) const {
    (*read)[static_cast<std::size_t>(i)] = true;
    return kv.key(i);
  }
  const Value* value(skim::Position i) const { return kv.value(i); }
};

template <class... I>
skim::IndexedKv<CountingKv, I...> counting(
    const skim::IndexedKv<skim::ContiguousKv<skim::BF16>, I...>& kv, std::vector<bool>& read) {
  return {{kv.base, &read}, kv.indexes};
}

/// Plain exact top-k with the budget of a recipe that is top-k by an index; empty if it is not.
inline skim::StageList exact_topk(const skim::StageList& e) {
  skim::StageList result;
  const auto add = [&]<class S>(const S& stage) {
    if constexpr (requires { stage.budget, stage.by; } && !skim::stands_for_rest<S>()) {
      result.stages.push_back(skim::TopK{stage.budget});
    }
  };
  for (const skim::Stage& stage : e.stages) std::visit(add, stage);
  return result;
}

/// Decode, groups that select together.
inline Counted count_reads(const skim::StageList& e, const Dataset<skim::BF16>& data,
                           const IndexedDataset<skim::BF16>& indexed) {
  const std::size_t n = data.shape().n;
  const skim::StageList exact = exact_topk(e);
  Counted total;
  double recall = 0;
  const double counted =
      each_selecting(data, skim::Grouping::kPerGroup, [&](std::size_t kv_head, const skim::Query& q) {
        std::vector<bool> keys(n), values(n), unused(n), wanted(n);
        mark(skim::select(e, q, counting(indexed.heads()[kv_head], keys)), values);
        for (std::size_t i = 0; i < n; ++i) keys[i] = keys[i] || values[i];  // attending reads both
        total.rows.keys += share_of(keys);
        total.rows.values += share_of(values);
        if (exact.stages.empty()) return;
        mark(skim::select(exact, q, counting(indexed.heads()[kv_head], unused)), wanted);
        double found = 0, sought = 0;
        for (std::size_t i = 0; i < n; ++i) {
          sought += wanted[i] ? 1 : 0;
          found += wanted[i] && values[i] ? 1 : 0;
        }
        recall += found / sought;
      });
  total.rows.keys /= counted;
  total.rows.values /= counted;
  if (!exact.stages.empty()) total.recall = recall / counted;
  return total;
}

}  // namespace skim_bench
