// SPDX-License-Identifier: Apache-2.0
#ifndef SKIM_ATTEND_OPTIONS_H_
#define SKIM_ATTEND_OPTIONS_H_

#include <span>

#include "skim/core/executor.h"
#include "skim/core/record.h"
#include "skim/core/workspace.h"

namespace skim::inline SKIM_ABI {

/// How a layer-level call runs. Nothing but `row_invariant` changes a bit of the result.
struct Options {
  Executor executor{};               ///< the caller's threads; serial by default
  std::span<Workspace> workspaces{}; ///< one for each thread; without them the call allocates its own
  bool check = true;                 ///< validate shapes, page tables and selections
  bool row_invariant = false;        ///< a row has the bits of a call with that row alone, whatever rows come with it
  SelectionRecord* record = nullptr; ///< where the call writes down what each row selects, for `backward`
};

}  // namespace skim::inline SKIM_ABI

#endif  // SKIM_ATTEND_OPTIONS_H_
