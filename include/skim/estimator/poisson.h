// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_POISSON_H_
#define SKIM_ESTIMATOR_POISSON_H_

#include <cstddef>

#include "skim/core/budget.h"
#include "skim/core/source.h"

namespace skim::inline SKIM_ABI {

/// Poisson sampling: every position that is left on its own, with probability p_i = min(1, c e^{s_i}), c such
/// that the expected number is the budget; weight 1 / p_i. The number of picks is random, and can be 0 or all:
/// the price of independence. Numerator and denominator are unbiased, their ratio is consistent.
/// A group samples by the mean of its heads' probabilities. Reads every key, or the index it goes by.
/// What boxes or means do not cover is selected with weight 1, ahead of the budget.
struct PoissonTail {
  static constexpr bool stands_for_rest = true;
  static constexpr bool reads_logits = true;

  Budget budget;
  Source by = Source::kKeys;  ///< what it samples from

  void validate() const { budget.validate("PoissonTail"); }
  std::size_t max_picks(std::size_t n) const { return n; }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_POISSON_H_
