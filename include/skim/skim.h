// SPDX-License-Identifier: Apache-2.0
// skim: sparse attention kernels for CPUs. Everything but Eigen, OpenMP and the arena.
//
// What is left when memory runs out, a std::bad_alloc in any of these calls (tests/memory lets each allocation of each fail):
//
//   append, truncate, reserve and copies of an index    the index is the one it was
//   verify, parse, select for a query group             nothing has changed
//   reserve for workspaces, lightning_scores            workspaces may have grown; nothing else has changed
//   attend                                              rows of out and lse may have been written
//   select into a record, attend with Options::record   the record may hold less than was selected, and nothing that was not
//   backward                                            gradients may have been written in part
//   merge                                               allocates nothing
//
// Any of them may be called again, with the same workspaces and indexes. After reserve(index, ...) append and truncate
// allocate nothing, after reserve(workspaces, ...) attend and select with these workspaces.
#ifndef SKIM_SKIM_H_
#define SKIM_SKIM_H_

#include "skim/attend/layer-inl.h"
#include "skim/attend/reserve-inl.h"
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

// How an index grows and shrinks with its KV head; memory for it and for workspaces beforehand.
using HWY_NAMESPACE::append;
using HWY_NAMESPACE::reserve;
using HWY_NAMESPACE::truncate;

// Whether it is of these keys.
using HWY_NAMESPACE::verify;

// What a learned indexer says of the positions.
using HWY_NAMESPACE::lightning_scores;

// For estimators of a user's own: the exact logits, and what earlier stages have left.
using HWY_NAMESPACE::for_each_gap;
using HWY_NAMESPACE::logits;

/// Name of the SIMD target this translation unit was compiled for.
inline const char* active_target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_SKIM_H_
