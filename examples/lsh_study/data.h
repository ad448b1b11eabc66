// SPDX-License-Identifier: Apache-2.0
// What the study looks at: synthetic workloads and, if there is one, the heads of a language model.
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "bench/synthetic.h"
#include "compare/model_problem.h"
#include "compare/synthetic_problem.h"
#include "hashing.h"

namespace lsh {

/// The KV heads of one kind of keys.
struct Keys {
  std::string name;
  compare::Problem problem;
};

struct DataSettings {
  std::size_t n = 16384;  // positions of a synthetic head
  std::size_t d = 128;
  std::uint64_t seed = 1;
  compare::ModelSettings model;  // without a path: no model

  /// Synthetic heads.
  compare::Problem synthetic(const skim_bench::Workload& workload, std::size_t kv_heads, std::size_t group) const {
    compare::SyntheticSettings settings;
    settings.workload = workload;
    settings.n = n;
    settings.d = d;
    settings.kv_heads = kv_heads;
    settings.group = group;
    settings.seed = seed;
    return compare::make_synthetic_problem(settings);
  }
};

/// Independent keys, keys whose mean is far from zero, with a sink or not, and keys in clusters.
inline constexpr const char* kKeys[] = {"iid", "mean=1", "sink", "outliers", "mixed", "clustered30"};

inline std::vector<Keys> read_data(const DataSettings& settings) {
  std::vector<Keys> all;
  for (const char* name : kKeys) all.push_back({name, settings.synthetic(skim_bench::parse_workload(name), 2, 4)});
  if (!settings.model.model.empty()) {
    compare::Problem problem = compare::read_model_problem(settings.model);
    all.push_back({settings.model.model.filename().string(), std::move(problem)});
  }
  return all;
}

/// The keys that an ask sees, [position + 1, d].
inline std::span<const float> seen(const compare::KvHead& head, const compare::Ask& ask) {
  return {head.keys.data(), static_cast<std::size_t>(ask.position + 1) * head.d};
}

/// Row h of an ask.
inline std::span<const float> row(const compare::KvHead& head, const compare::Ask& ask, std::size_t h) {
  return {ask.rows.data() + h * head.d, head.d};
}

/// The mean of the directions of an ask's rows, [d]: by it a group is hashed.
inline std::vector<float> pooled(const compare::KvHead& head, const compare::Ask& ask) {
  std::vector<float> sum(head.d);
  for (std::size_t h = 0; h < head.group(); ++h) {
    const auto q = row(head, ask, h);
    const double length = std::sqrt(dot(q, q));
    for (std::size_t c = 0; c < head.d && length > 0; ++c) sum[c] += static_cast<float>(static_cast<double>(q[c]) / length);
  }
  return sum;
}

}  // namespace lsh
