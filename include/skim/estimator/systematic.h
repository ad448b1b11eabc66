// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_SYSTEMATIC_H_
#define SKIM_ESTIMATOR_SYSTEMATIC_H_

#include <cstddef>

#include "skim/core/budget.h"
#include "skim/core/source.h"

namespace skim::inline SKIM_ABI {

/// Systematic sampling: position i with probability p_i = min(1, c e^{s_i}), c such that the p_i of the positions
/// that are left add up to the budget b; one uniform number and b equally spaced points in the prefix sums choose
/// exactly b positions, none twice, each with weight 1 / p_i. Numerator and denominator are unbiased, their
/// ratio is consistent. Joint inclusions depend on the order of the keys.
/// A group samples by the mean of its heads' probabilities. Reads every key, or the index it goes by.
/// What boxes or means do not cover is selected with weight 1, ahead of the budget.
/// Madow, "On the theory of systematic sampling, II", Ann. Math. Statist. 20 (1949).
struct SystematicTail {
  static constexpr bool stands_for_rest = true;
  static constexpr bool reads_logits = true;

  Budget budget;
  Source by = Source::kKeys;  ///< what it samples from

  void validate() const { budget.validate("SystematicTail"); }
  std::size_t max_picks(std::size_t n) const { return most_selected(budget, by, n); }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_SYSTEMATIC_H_
