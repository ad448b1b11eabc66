// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_SUMMARIES_H_
#define SKIM_ESTIMATOR_SUMMARIES_H_

#include <cstddef>

#include "skim/core/source.h"

namespace skim::inline SKIM_ABI {

/// Everything that is left, by the means of its pages (`PageMeans`, which the KV must carry): m unread positions of a page
/// count as m copies of its mean key and mean value, one row with log weight ln m. It makes what top-k drops a coarse part
/// of the answer instead of none, for one row a page.
///
/// Some of what is left is read instead, each position with weight 1:
///   - pages that are not complete, or not visible as a whole: a mean would tell of what the query may not see;
///   - positions that the means leave out because they are not finite;
///   - the only unread position of a page, since it is a row like the summary.
/// At most page - 1 positions at either end of what is visible, and seldom others.
///
/// It is biased: the logit of a mean key is the mean of the logits, and the mean of their exponentials is larger (Jensen),
/// by a factor of about e^{v/2} for logits with variance v within a page. So the denominator is too small, unless pages
/// hold keys that are alike; a page's mean also counts those of its keys that earlier stages have read. With ALiBi a page
/// is at its middle, rounded down.
struct Summaries {
  static constexpr bool stands_for_rest = true;
  static constexpr Source by = Source::kMeans;

  void validate() const {}
  std::size_t max_picks(std::size_t n) const { return n; }
};

/// It asks for no position's score.
constexpr Sources scored_sources(const Summaries&) { return 0; }

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_SUMMARIES_H_
