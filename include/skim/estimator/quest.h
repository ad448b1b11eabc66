// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_QUEST_H_
#define SKIM_ESTIMATOR_QUEST_H_

#include <cstddef>

#include "skim/core/budget.h"
#include "skim/core/source.h"

namespace skim::inline SKIM_ABI {

/// Quest: whole pages, those first that could hold the largest logit (Tang et al., "Quest: query-aware sparsity for
/// efficient long-context LLM inference", arXiv 2406.10774). The KV must carry `PageBoxes`, whose upper bound ranks the
/// pages; keys are read of what is selected only. Weight 1, as spans.
///
/// The page that the query sits in is taken first, however far it is filled, then pages by descending bound, ties to
/// the lower page, as the query sees them and without what earlier stages have selected. `budget` counts positions, not
/// pages, and all of it is used: a page that does not fit in is cut to its newest positions. A page without a bound
/// (PageBoxes) is ranked by its largest logit. A group pools by the largest bound of its heads.
///
/// The bound says nothing of how many large logits a page holds: mass spread over many mediocre keys is missed.
struct Quest {
  static constexpr Source by = Source::kBoxes;

  Budget budget;

  void validate() const { budget.validate("Quest"); }
  std::size_t max_picks(std::size_t n) const { return budget.count(static_cast<Position>(n)); }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_QUEST_H_
