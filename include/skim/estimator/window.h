// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_WINDOW_H_
#define SKIM_ESTIMATOR_WINDOW_H_

#include <algorithm>
#include <cstddef>

#include "skim/core/error.h"
#include "skim/core/position.h"

namespace skim::inline SKIM_ABI {

/// The newest `width` visible positions, with weight 1, whatever else is selected. (A model's own sliding
/// window, outside of which nothing exists, is a visible range: `sliding_window`.)
struct Window {
  Position width = 64;

  void validate() const {
    if (width < 0) fail("skim::Window: width is ", width, " but must be at least 0");
  }
  std::size_t max_picks(std::size_t n) const { return std::min(n, static_cast<std::size_t>(width)); }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_WINDOW_H_
