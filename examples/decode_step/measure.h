// SPDX-License-Identifier: Apache-2.0
// A decode step of a synthetic layer, measured.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/workload.h"

namespace decode_step {

inline constexpr std::size_t kQueryHeads = 32, kKvHeads = 8, kDim = 128,
                             kGroup = kQueryHeads / kKvHeads;
inline constexpr std::uint64_t kSeeds = 5;  // of what draws

/// Bytes of keys and values of n positions.
inline double cache_bytes(std::size_t n) { return static_cast<double>(kKvHeads * n * 2 * kDim * 2); }

/// What is measured of an estimator.
struct Result {
  std::string text;
  double milliseconds = 0, speed_up = 0;  // medians
  double bytes = 0;
  double error = 0,
         spread = 0;  // relative l2 over the seeds: mean, and standard deviation (0: it does not draw)
};

/// Makes the layer and measures each estimator (by text), the first of which is what the others are compared with.
/// Every one takes its turn in each round: what disturbs the machine disturbs all of them.
std::vector<Result> measure(const skim_bench::Workload& workload, std::size_t n,
                            const std::vector<std::string>& texts, std::size_t threads,
                            std::size_t rounds);

}  // namespace decode_step
