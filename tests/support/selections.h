// SPDX-License-Identifier: Apache-2.0
// Selections by hand.
#ifndef SKIM_TESTS_SUPPORT_SELECTIONS_H_
#define SKIM_TESTS_SUPPORT_SELECTIONS_H_

#include <vector>

#include "skim/core/selection.h"

namespace skim::test {

using Spans = std::vector<Span>;

inline Selection selection_of(const Spans& spans, const std::vector<Pick>& picks = {}) {
  Selection s;
  for (const Span span : spans) s.add(span);
  for (const Pick pick : picks) s.add(pick.position, pick.log_weight);
  return s;
}

/// Every `step`-th position of [first, last) with weights that differ.
inline std::vector<Pick> every(Position step, Position first, Position last) {
  std::vector<Pick> picks;
  for (Position i = first; i < last; i += step)
    picks.push_back({i, 0.25 * static_cast<double>(i % 9) - 1});
  return picks;
}

}  // namespace skim::test

#endif  // SKIM_TESTS_SUPPORT_SELECTIONS_H_
