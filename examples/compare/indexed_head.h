// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include <skim/skim.h>

#include "problem.h"

namespace compare {

/// A KV head in bfloat16 that grows, with every index beside it. A new kind of index is a member here, a line in `grow`
/// and one in `kv`.
class IndexedHead {
 public:
  /// Holds nothing yet. `head` must outlive this.
  IndexedHead(const KvHead& head, std::size_t segment)
      : head_(&head), sketch1_(segment), sketch4_(segment), sketch8_(segment) {
    for (const float x : head.keys) keys_.push_back(skim::from_float<skim::BF16>(x));
    for (const float x : head.values) values_.push_back(skim::from_float<skim::BF16>(x));
  }

  /// Takes in the positions up to n; forgets those behind it.
  void resize(std::size_t n) {
    n_ = n;
    resize(sketch1_);
    resize(sketch4_);
    resize(sketch8_);
  }

  auto kv() const { return skim::with_index(plain(), sketch1_, sketch4_, sketch8_); }

  std::size_t position_bytes() const { return 2 * head_->d * sizeof(skim::BF16); }
  /// Positions whose keys are sketched: those behind them are scored exactly.
  std::size_t sketched() const { return static_cast<std::size_t>(sketch1_.sketched()); }

 private:
  skim::ContiguousKv<skim::BF16> plain() const {
    return {{keys_.data(), n_, head_->d}, {values_.data(), n_, head_->d}};
  }
  template <class Index>
  void resize(Index& index) {
    const auto kept = std::min(index.size(), static_cast<skim::Position>(n_));
    skim::append(index, plain(), kept);
  }

  const KvHead* head_;
  std::size_t n_ = 0;
  std::vector<skim::BF16> keys_, values_;  // [n, d] of the whole text
  skim::Sketch1 sketch1_;
  skim::Sketch4 sketch4_;
  skim::Sketch8 sketch8_;
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
