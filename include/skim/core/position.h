// SPDX-License-Identifier: Apache-2.0
// Where a key is: a position in one KV head, and a run of positions.
#ifndef SKIM_CORE_POSITION_H_
#define SKIM_CORE_POSITION_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "skim/core/config.h"

namespace skim::inline SKIM_ABI {

/// Index of a token in a KV head; 0 is the oldest.
using Position = std::int64_t;

/// The positions [first, last). Empty when last <= first.
struct Span {
  Position first = 0;
  Position last = 0;

  constexpr Position size() const { return last > first ? last - first : 0; }
  constexpr bool contains(Position i) const { return first <= i && i < last; }
  friend constexpr bool operator==(const Span&, const Span&) = default;
};

/// What both spans contain.
constexpr Span intersect(Span a, Span b) {
  return {std::max(a.first, b.first), std::min(a.last, b.last)};
}

/// The smallest span that contains both; an empty one counts for nothing.
constexpr Span hull(Span a, Span b) {
  if (a.size() == 0) return b;
  if (b.size() == 0) return a;
  return {std::min(a.first, b.first), std::max(a.last, b.last)};
}

/// Every position a KV head can have.
inline constexpr Span kEverything{0, std::numeric_limits<Position>::max()};

/// The sliding window of a model: the newest `width` positions up to and including `position`. It is a
/// visible range, an intersection; the estimator `Window` is a union.
constexpr Span sliding_window(Position position, Position width) {
  return {width > position ? 0 : position + 1 - std::max<Position>(0, width), position + 1};
}

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_CORE_POSITION_H_
