// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_PRIORITY_H_
#define SKIM_ESTIMATOR_PRIORITY_H_

#include <cstddef>

#include "skim/core/budget.h"
#include "skim/core/source.h"

namespace skim::inline SKIM_ABI {

/// Priority sampling of the positions that are left: with a_i = e^{s_i} and u_i uniform on (0, 1], the K
/// largest priorities a_i / u_i. With tau the (K+1)-th priority, the weight of a selected position is
/// max(1, tau / a_i). Numerator and denominator are unbiased, their ratio is consistent. The inclusion
/// probability min(1, a_i / tau) is conditional on tau. A group samples by the mean of its heads'
/// probabilities. Reads every key, or the index it goes by.
/// What boxes or means do not cover is selected with weight 1, ahead of the budget.
///
/// Duffield, Lund, Thorup, "Priority sampling for estimation of arbitrary subset sums", JACM 54 (2007).
struct PriorityTail {
  static constexpr bool stands_for_rest = true;
  static constexpr bool reads_logits = true;

  Budget budget;
  Source by = Source::kKeys;  ///< what it samples from

  void validate() const { budget.validate("PriorityTail"); }
  std::size_t max_picks(std::size_t n) const { return most_selected(budget, by, n); }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_PRIORITY_H_
