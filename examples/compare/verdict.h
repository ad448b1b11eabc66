// SPDX-License-Identifier: Apache-2.0
// Who wins.
#pragma once

#include <span>
#include <string>

#include "report.h"

namespace compare {

/// The result with the smallest median error at `share`, among methods that draw or among those
/// that keep and only those that read no more than the share (power budgets read more of short
/// texts). Null when there is none.
const Result* best_at(std::span<const Result> results, double share, bool is_random);

inline constexpr const char* kVerdictTitle =
    "The best method that draws against the best that only keeps: the winner and its error\n"
    "(relative l2, median over heads), how many times worse the other is, in how many heads the\n"
    "winner wins.";

/// "**priority** 0.023; topk × 4.1 (8 of 8)", or "-" without two to compare.
std::string verdict(std::span<const Result> results, double share);

}  // namespace compare
