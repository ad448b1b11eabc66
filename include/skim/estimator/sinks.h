// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_SINKS_H_
#define SKIM_ESTIMATOR_SINKS_H_

#include <algorithm>
#include <cstddef>

#include "skim/core/error.h"
#include "skim/core/position.h"

namespace skim::inline SKIM_ABI {

/// The first `count` positions of the KV head, with weight 1 (those of them that are visible). Trained
/// models put much weight there whatever the query: Xiao et al., "Efficient streaming language models with
/// attention sinks", arXiv 2309.17453.
struct Sinks {
  Position count = 4;

  void validate() const {
    if (count < 0) fail("skim::Sinks: count is ", count, " but must be at least 0");
  }
  std::size_t max_picks(std::size_t n) const { return std::min(n, static_cast<std::size_t>(count)); }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_SINKS_H_
