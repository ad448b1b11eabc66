// SPDX-License-Identifier: Apache-2.0
// What the blocks of include/skim/README.md take for granted. Each is the body of a function behind this.
#pragma once

#include <skim/openmp.h>
#include <skim/skim.h>

#include <memory>
#include <vector>

inline const std::size_t n = 2048, d = 128, group = 4, kv_heads = 2;
inline std::vector<float> numbers(std::size_t count, unsigned seed) {
  std::vector<float> x(count);
  for (float& each : x) {
    seed = seed * 1664525u + 1013904223u;
    each = static_cast<float>(seed >> 8) / 8388608.0f - 1.0f;
  }
  return x;
}

// One KV head, and the query heads of a layer on two of them.
inline std::vector<float> k = numbers(n * d, 1), v = numbers(n * d, 2),
                          q = numbers(kv_heads * group * d, 3);
inline std::vector<float> out(kv_heads*group*d), lse(kv_heads*group);
inline skim::Executor my_threads(int count) { return skim::openmp(count); }

// The query, view, state and workspace of the first block.
inline const skim::ContiguousKv<float> kv{{k.data(), n, d}, {v.data(), n, d}};
inline const skim::Query query{.rows = {q.data(), group, d}};
inline const skim::StateView state{{out.data(), group, d}, lse.data()};
inline skim::Workspace workspace;

// The layer of the second, and what training asks of it.
inline const std::vector<skim::ContiguousKv<float>> heads(kv_heads, kv);
inline const skim::LayerQuery layer{.rows = {q.data(), 1, kv_heads* group, d}};
inline const skim::LayerKv<skim::ContiguousKv<float>> layer_kv{heads, kv_heads};
inline const skim::LayerState layer_state{{out.data(), 1, kv_heads* group, d}, lse.data()};
inline std::vector<skim::Workspace> workspaces(2);
