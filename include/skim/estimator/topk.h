// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_TOPK_H_
#define SKIM_ESTIMATOR_TOPK_H_

#include <cstddef>

#include "skim/core/budget.h"
#include "skim/core/error.h"
#include "skim/core/source.h"

namespace skim::inline SKIM_ABI {

/// Top-k: of the positions that are left, the `budget` with the largest logits, with weight 1. Ties go to the lower
/// position, a NaN logit counts as -inf. A group pools by the largest logit of its heads. Dynamic top-k is
/// `TopK{power(alpha, C)}`.
///
/// Who knows the logits?
///   TopK{128}                                       the keys: exact, reads every key
///   TopK{128, Source::kSketch1}                     an index: what it ranks first is taken
///   TopK{128, Source::kSketch1, 640}                it names 640 candidates, and their keys decide
///   TopK{.budget = 128, .by = Source::kSketch8, .exact = true}
///                                                   candidates are all that the index's bounds cannot exclude: exactly
///                                                   what TopK{128} selects, ties included, by fewer keys; sketch8 or boxes
///
/// Boxes and means rank pages: of one that does not fit in the newest positions are taken. What they do not cover (the
/// newest positions, which no page holds yet, and pages without a box or mean) is selected as well, ahead of the budget:
/// by boxes of pages of 16 up to 15 positions more. Where keys decide, it is among the candidates.
///
/// What it drops is a bias, not noise: the error is tau |mean dropped value - mean kept value| with tau the
/// dropped softmax mass (arXiv 2512.07647, theorem 5.2). Without `Sinks` and `Window` before it the error
/// jumps where n passes k.
struct TopK {
  static constexpr bool reads_logits = true;

  Budget budget;
  Source by = Source::kKeys;
  Budget candidates = 0;  ///< 0: the index has the last word
  bool exact = false;

  void validate() const {
    budget.validate("TopK");
    candidates.validate("TopK: candidates");
    const bool wants_candidates = candidates != Budget(0);
    if (by == Source::kKeys && wants_candidates) fail("skim::TopK: candidates are named by an index, but by is keys");
    if (exact && wants_candidates) fail("skim::TopK: exact finds its own candidates, so there can be no budget of them");
    if (exact && by != Source::kKeys && by != Source::kSketch8 && by != Source::kBoxes) {
      fail("skim::TopK: exact needs bounds, which sketch8 and boxes have, but by is ", name_of(by));
    }
  }
  std::size_t max_picks(std::size_t n) const {
    const bool keys_decide = exact || candidates != Budget(0);
    return most_selected(budget, keys_decide ? Source::kKeys : by, n);
  }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_TOPK_H_
