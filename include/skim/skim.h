// SPDX-License-Identifier: Apache-2.0
// skim: sparse attention kernels for CPUs. Everything but Eigen, OpenMP and the arena.
#ifndef SKIM_SKIM_H_
#define SKIM_SKIM_H_

#include "skim/attend/layer-inl.h"
#include "skim/estimator/text.h"
#include "skim/index/lightning-inl.h"
#include "skim/train/backward-inl.h"

namespace skim::inline SKIM_ABI {

// The three verbs, for the target the compiler flags name.
using HWY_NAMESPACE::attend;
using HWY_NAMESPACE::merge;
using HWY_NAMESPACE::select;

// Gradients of a layer.
using HWY_NAMESPACE::backward;

// How an index grows and shrinks with its KV head.
using HWY_NAMESPACE::append;
using HWY_NAMESPACE::truncate;

// What a learned indexer says of the positions.
using HWY_NAMESPACE::lightning_scores;

// For estimators of a user's own: the exact logits, and what earlier stages have left.
using HWY_NAMESPACE::for_each_gap;
using HWY_NAMESPACE::logits;

/// Name of the SIMD target this translation unit was compiled for.
inline const char* active_target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_SKIM_H_
