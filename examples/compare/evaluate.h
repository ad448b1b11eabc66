// SPDX-License-Identifier: Apache-2.0
// How good and how fast methods are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <skim/core/query.h>

#include "method.h"
#include "problem.h"

namespace compare {

/// One method at one cost.
struct Run {
  const Method* method = nullptr;
  std::optional<double> share;  // of the visible positions; none when the method has one cost only
};

/// Every method at every share.
std::vector<Run> plan(const std::vector<Method>& methods, const std::vector<double>& shares);

struct Accuracy {
  std::vector<double>
      head_errors;       // [query heads], rms over queries and seeds of the relative l2 error
  double variation = 0;  // total variation distance, mean over all
  double keys_read = 0;  // share of the visible positions, mean over all; a key read twice counts twice
  double values_read = 0;
  double bytes_read = 0;  // with indexes, a share of the bytes of the visible keys and values
  std::size_t seeds = 1;  // 1 for a method that draws nothing

  double median_error() const;
  double worst_error() const;
};

/// Where others ran more than this share of the timed seconds, speeds are ratios of processor time.
inline constexpr double kLoaded = 0.1;

struct Speed {
  double microseconds = 0;  // per query position and KV head, median over rounds
  double vs_dense = 0;      // dense time / this time, median of the ratios of each round
  // How well that is known.
  std::size_t rounds = 0;
  double off_cpu = 0;    // share of the timed seconds in which others ran: see bench/rounds.h
  double megabytes = 0;  // of keys and values that dense attention reads in a round
};

struct Settings {
  std::size_t seeds = 8;
  std::uint64_t seed = 1;
  skim::Grouping grouping = skim::Grouping::kPerGroup;
  bool indexed = false;       // keys and values in bfloat16 with indexes beside them, otherwise in f32
  std::size_t segment = 256;  // positions that a sketch takes in at a time
};

/// Called with the part that is done, out of a total.
using OnProgress = std::function<void(std::size_t done)>;

/// One for each run; empty when the method's fixed part alone costs more than the share. `progress`
/// counts query positions.
std::vector<std::optional<Accuracy>> measure_accuracy(const Problem& problem, std::span<const Run> runs,
                                                      const Settings& settings,
                                                      const OnProgress& progress);

/// Times every run against dense attention, both in turn in each round, as bench/rounds.h says, on one
/// thread. Caches are as the calls leave them. `progress` counts runs. 0 rounds: no figures.
std::vector<std::optional<Speed>> measure_speed(const Problem& problem, std::span<const Run> runs,
                                                const Settings& settings, std::size_t rounds,
                                                const OnProgress& progress);

/// The SIMD target all of it was compiled for.
std::string target_name();

}  // namespace compare
