// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "bench/synthetic.h"
#include "problem.h"

namespace compare {

struct SyntheticSettings {
  skim_bench::Workload workload;
  std::size_t n = 16384;
  std::size_t d = 128;
  std::size_t kv_heads = 8;
  std::size_t group = 1;
  std::uint64_t seed = 1;
};

/// The knobs, the two that decide who wins always among them.
inline std::string describe(skim_bench::Workload w) {
  const skim_bench::Workload defaults;
  std::string text = "spread " + skim_bench::workload_detail::number(w.spread) + ", correlation " +
                     skim_bench::workload_detail::number(w.corr);
  w.spread = defaults.spread;
  w.corr = defaults.corr;
  return w == defaults ? text : text + ", " + skim_bench::to_text(w);
}

/// Independent KV heads, each with one query position, the newest.
inline Problem make_synthetic_problem(const SyntheticSettings& settings) {
  Problem problem;
  problem.name = "Synthetic workload, " + describe(settings.workload) + ": n " +
                 std::to_string(settings.n) + ", d " + std::to_string(settings.d) + ", " +
                 std::to_string(settings.kv_heads) + " KV heads x " + std::to_string(settings.group);
  problem.kv_heads = settings.kv_heads;
  problem.group = settings.group;
  problem.longest = settings.n;
  skim_bench::SyntheticHead head;
  for (std::size_t h = 0; h < settings.kv_heads; ++h) {
    skim_bench::make_head(settings.workload, settings.n, settings.d, settings.group,
                          skim_bench::row_key(settings.seed, 0, h), head);
    problem.heads.push_back({.head = static_cast<std::uint32_t>(h),
                             .d = settings.d,
                             .keys = std::move(head.keys),
                             .values = std::move(head.values),
                             .asks = {{static_cast<skim::Position>(settings.n) - 1, 0, head.queries}}});
  }
  return problem;
}

}  // namespace compare
