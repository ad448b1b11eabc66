// SPDX-License-Identifier: Apache-2.0
// Scores that the caller brings: those of a learned indexer, for instance.
#ifndef SKIM_INDEX_EXTERNAL_H_
#define SKIM_INDEX_EXTERNAL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "skim/core/error.h"
#include "skim/core/limits.h"
#include "skim/core/position.h"
#include "skim/core/rows.h"
#include "skim/core/source.h"

namespace skim::inline SKIM_ABI {

/// A score for each (query position, position) of one KV head, shared by the query heads of the group. Top-k takes the
/// largest; a sampler takes them as logits, as they are trained to be (DeepSeek-V3.2, arXiv 2512.02556: the indexer's
/// softmax learns the attention's). A score of -infinity says "never this position": no stage that goes by these scores
/// selects it, however large its budget, and a sampler's weights are right for the others. NaN ranks last, as the lowest
/// finite score would, and counts as the floor of a proposal; +infinity ranks first and counts as the largest finite one.
///
/// Stages that do not go by the scores (`Sinks`, `Window`, `Dense`) select what they select, also where a score is -infinity.
///
/// scores: [rows, n], row r for the query at position first_query + r. n is the number of positions of the KV head.
struct ExternalScores {
  static constexpr Source kSource = Source::kExternal;
  static constexpr const char* kName = "table of external scores";

  Rows<const float> scores{};
  Position first_query = 0;

  /// Positions that a row has scores of; -1 where there are more than a KV head can have.
  Position size() const {
    return scores.cols > static_cast<std::size_t>(kMostPositions) ? -1 : static_cast<Position>(scores.cols);
  }
  std::size_t bytes() const { return scores.rows * scores.cols * sizeof(float); }

  /// Throws std::invalid_argument if there is no row for a query at one of the positions [first, last).
  void check_covers(Position first, Position last) const {
    // Any numbers may stand here: no sum of them is made before they are compared.
    const auto rows_before = [this](Position at) {
      return static_cast<std::uint64_t>(at) - static_cast<std::uint64_t>(first_query);
    };
    if (first >= last || (first >= first_query && rows_before(last) <= scores.rows)) return;
    const Position room = std::numeric_limits<Position>::max() - std::max<Position>(0, first_query);
    const std::size_t most = static_cast<std::size_t>(room);
    const Position end = first_query + static_cast<Position>(std::min(scores.rows, most));
    fail("skim::attend: external scores are for queries at positions [", first_query, ", ", end, ") but this one is at ",
         first < first_query ? first : last - 1);
  }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_INDEX_EXTERNAL_H_
