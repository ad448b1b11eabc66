// SPDX-License-Identifier: Apache-2.0
// The indexer of DeepSeek-V3.2: small queries and keys of their own that say which positions are worth reading.
#ifndef SKIM_INDEX_LIGHTNING_H_
#define SKIM_INDEX_LIGHTNING_H_

#include <cstddef>

#include "skim/core/rows.h"
#include "skim/core/view.h"

namespace skim::inline SKIM_ABI {

/// One query token of a lightning indexer. With its heads j and the one indexer key of each position s,
///   I_s = sum_j w_j max(0, <q_j, k_s>)
/// (DeepSeek-V3.2, arXiv 2512.02556, equation 1). Scale factors belong to the weights: the model has
/// w_j = (its gate) / sqrt(heads) / sqrt(d).
struct LightningQuery {
  Rows<const float> rows{};          ///< [indexer heads, d]
  View<const float> weights{};       ///< [indexer heads]
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_INDEX_LIGHTNING_H_
