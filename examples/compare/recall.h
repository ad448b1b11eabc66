// SPDX-License-Identifier: Apache-2.0
// How many of the largest logits an index finds.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <skim/core/source.h>

#include "evaluate.h"
#include "problem.h"

namespace compare {

inline constexpr skim::Source kRanking[] = {skim::Source::kSketch1, skim::Source::kSketch4, skim::Source::kSketch8};
inline constexpr double kSought[] = {0.01, 0.02, 0.05};
inline constexpr double kCandidates[] = {0.02, 0.05, 0.10};

/// The share of the true top-k that is among the candidates, over the positions that the index has taken in: the
/// newest, which are always scored exactly, would flatter it.
struct Recall {
  skim::Source by{};
  double sought = 0;      // k, a share of the positions
  double candidates = 0;  // what the index names, likewise
  double mean = 0;        // over queries
  double worst_head = 0;  // of the means of KV heads
};

/// Every ranking, and k with as many candidates or with those of `kCandidates` that are more.
std::vector<Recall> measure_recall(const Problem& problem, const Settings& settings);

/// Recalls on some keys.
struct RecallOn {
  std::string keys;
  std::vector<Recall> recalls;
};

/// A markdown table on stdout: a line for each keys and ranking.
void print_recall(std::span<const RecallOn> all);

}  // namespace compare
