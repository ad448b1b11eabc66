// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_MULTINOMIAL_H_
#define SKIM_ESTIMATOR_MULTINOMIAL_H_

#include <cstddef>

#include "skim/core/budget.h"
#include "skim/core/source.h"

namespace skim::inline SKIM_ABI {

/// Oracle sampling: `budget` independent draws from the softmax over the r positions that are left. A position
/// drawn c times is one pick of weight c / (B pi_i). Numerator and denominator are unbiased; the denominator
/// is exact, since every draw adds D / B to it, so the ratio is unbiased too when nothing precedes this stage.
/// A group draws from the mean of its heads' probabilities. Reads every key, or the index it goes by.
/// What boxes or means do not cover is selected with weight 1, ahead of the budget.
/// MagicPIG, arXiv 2410.16179, section 3.2.
struct MultinomialTail {
  static constexpr bool stands_for_rest = true;
  static constexpr bool reads_logits = true;

  Budget budget;
  Source by = Source::kKeys;  ///< what it samples from

  void validate() const { budget.validate("MultinomialTail"); }
  std::size_t max_picks(std::size_t n) const { return most_selected(budget, by, n); }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_MULTINOMIAL_H_
