// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_UNIFORM_H_
#define SKIM_ESTIMATOR_UNIFORM_H_

#include <cstddef>

#include "skim/core/budget.h"

namespace skim::inline SKIM_ABI {

/// A uniform sample of the r positions that are left: b of them without replacement, each with weight r / b.
/// Inclusion probability b / r; numerator and denominator are unbiased, their ratio is consistent.
/// Reads only the keys it selects.
struct UniformTail {
  static constexpr bool stands_for_rest = true;

  Budget budget;

  void validate() const { budget.validate("UniformTail"); }
  std::size_t max_picks(std::size_t n) const { return budget.count(static_cast<Position>(n)); }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_UNIFORM_H_
