// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ATTEND_OPTIONS_H_
#define SKIM_ATTEND_OPTIONS_H_

#include <span>

#include "skim/core/executor.h"
#include "skim/core/record.h"
#include "skim/core/workspace.h"

namespace skim::inline SKIM_ABI {

/// How a layer-level call runs. Nothing but `row_invariant` changes a bit of the result.
///
/// strict: an index knows the keys it has seen by a hash of each of its pieces, and the call compares some of them with the
/// keys that are there now: for each KV head and index the newest piece, and drawn ones of 256 positions in all (by
/// stream and number of positions, so that later tokens have others). An index of another head, which differs
/// everywhere, is always noticed once it has a piece; keys that were overwritten in place at positions that no drawn piece
/// holds may be missed, call after call: `skim::verify` reads all. Costs the reading of some 512 keys a KV head and
/// index, on one thread. (Group-level calls take no options: `verify` is for them.)
struct Options {
  Executor executor{};               ///< the caller's threads; serial by default
  std::span<Workspace> workspaces{}; ///< one for each thread; without them the call allocates its own
  bool check = true;                 ///< validate shapes, page tables and selections; how much an index covers always is
  bool strict = false;               ///< compare indexes with the keys beside them, by samples
  bool row_invariant = false;        ///< a row has the bits of a call with that row alone, whatever rows come with it
  SelectionRecord* record = nullptr; ///< where the call writes down what each row selects, for `backward`
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ATTEND_OPTIONS_H_
