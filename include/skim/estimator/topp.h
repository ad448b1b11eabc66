// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ESTIMATOR_TOPP_H_
#define SKIM_ESTIMATOR_TOPP_H_

#include <cstddef>

#include "skim/core/error.h"

namespace skim::inline SKIM_ABI {

/// Oracle top-p: of the positions that are left the fewest, by descending logit, so that everything selected
/// so far, these included, holds at least `mass` of the softmax over the visible positions. Weight 1; ties go
/// to the lower position. A group takes positions by their largest per-head probability until every head
/// holds `mass`. However small the mass, something is selected: below 1e-6, which rounding hides, the likeliest position
/// that is left for each head, unless it holds the mass already. Only a mass of 0 selects nothing, and mass = 1 is dense
/// attention. Reads every key.
///
/// The only deterministic rule with a bound on its error: 2 (1 - mass) max |v|.
struct TopP {
  static constexpr bool reads_logits = true;

  double mass = 0.95;

  void validate() const {
    if (!(mass >= 0 && mass <= 1)) fail("skim::TopP: mass is ", mass, " but must be between 0 and 1");
  }
  std::size_t max_picks(std::size_t n) const { return n; }
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ESTIMATOR_TOPP_H_
