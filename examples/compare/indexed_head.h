// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <tuple>
#include <vector>

#include <skim/skim.h>

#include "generate/index_sets.h"
#include "problem.h"

namespace compare {

/// A KV head in bfloat16 that grows, with every index that ranks beside it.
class IndexedHead {
 public:
  /// Holds nothing yet. `head` must outlive this.
  IndexedHead(const KvHead& head, std::size_t segment) : head_(&head), indexes_(made(segment, Every{})) {
    for (const float x : head.keys) keys_.push_back(skim::from_float<skim::BF16>(x));
    for (const float x : head.values) values_.push_back(skim::from_float<skim::BF16>(x));
  }

  /// Takes in the positions up to n; forgets those behind it.
  void resize(std::size_t n) {
    n_ = n;
    const auto resize_one = [&](auto& index) {
      const auto kept = std::min(index.size(), static_cast<skim::Position>(n));
      skim::append(index, plain(), kept);
    };
    std::apply([&](auto&... index) { (resize_one(index), ...); }, indexes_);
  }

  auto kv() const {
    return std::apply([&](const auto&... index) { return skim::with_index(plain(), index...); }, indexes_);
  }

  /// Positions whose keys are sketched: those behind them are scored exactly.
  std::size_t sketched() const { return static_cast<std::size_t>(std::get<0>(indexes_).sketched()); }

 private:
  using Every = engine::RankingIndex;

  template <class... Indexes>
  static std::tuple<Indexes...> made(std::size_t segment, engine::IndexSet<Indexes...>) {
    return {engine::make_index<Indexes>(engine::IndexOptions{segment})...};
  }
  skim::ContiguousKv<skim::BF16> plain() const {
    return {{keys_.data(), n_, head_->d}, {values_.data(), n_, head_->d}};
  }

  const KvHead* head_;
  std::size_t n_ = 0;
  std::vector<skim::BF16> keys_, values_;  // [n, d] of the whole text
  decltype(made(0, Every{})) indexes_;
};

/// Rounds keys and values to bfloat16, so that errors are those of methods and not of storage.
inline void round_to_storage(Problem& problem) {
  const auto round = [](std::vector<float>& all) {
    for (float& x : all) x = skim::to_float(skim::from_float<skim::BF16>(x));
  };
  for (KvHead& head : problem.heads) {
    round(head.keys);
    round(head.values);
  }
}

}  // namespace compare
