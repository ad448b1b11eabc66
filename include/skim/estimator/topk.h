// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_TOPK_H_
#define SKIM_ESTIMATOR_TOPK_H_

#include <cstddef>

#include "skim/core/budget.h"

namespace skim::inline SKIM_ABI {

/// Exact top-k: of the positions that are left, the `budget` with the largest logits, with weight 1. Ties go
/// to the lower position, a NaN logit counts as -inf. A group pools by the largest logit of its heads.
/// Reads every key. Dynamic top-k is `TopK{power(alpha, C)}`.
///
/// What it drops is a bias, not noise: the error is tau |mean dropped value - mean kept value| with tau the
/// dropped softmax mass (arXiv 2512.07647, theorem 5.2). Without `Sinks` and `Window` before it the error
/// jumps where n passes k.
struct TopK {
  static constexpr bool reads_logits = true;

  Budget budget;

  void validate() const { budget.validate("TopK"); }
  std::size_t max_picks(std::size_t n) const { return budget.count(static_cast<Position>(n)); }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_TOPK_H_
