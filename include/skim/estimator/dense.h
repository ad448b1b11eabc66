// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_DENSE_H_
#define SKIM_ESTIMATOR_DENSE_H_

#include <cstddef>

#include "skim/core/config.h"

namespace skim::inline SKIM_ABI {

/// Every position that is left, with weight 1: exact attention.
struct Dense {
  static constexpr bool stands_for_rest = true;

  void validate() const {}
  std::size_t max_picks(std::size_t n) const { return n; }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_DENSE_H_
