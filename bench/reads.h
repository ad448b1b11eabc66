// SPDX-License-Identifier: Apache-2.0
// What an estimator that goes by indexes reads of keys and values, as counted, and what it finds.
#pragma once

#include "bench/indexes.h"
#include "bench/layer_call.h"

namespace skim_bench {

struct Counted {
  Coverage rows{};
  double recall =
      -1;  ///< share of the positions of exact top-k that are attended to; -1: no budget to compare with
};

/// Plain exact top-k with the budget of a recipe that is top-k by an index; empty if it is not.
skim::StageList exact_topk(const skim::StageList& e);

/// Decode, groups that select together.
Counted count_reads(const skim::StageList& e, const Dataset<skim::BF16>& data,
                    const IndexedDataset<skim::BF16>& indexed);

}  // namespace skim_bench
