// SPDX-License-Identifier: Apache-2.0
// Which benchmarks there are: a sweep is a row of a table, and stands for all combinations of what it lists.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "bench/dataset.h"
#include "skim/core/query.h"

namespace skim_bench {

enum class Type { kF32, kF16, kBF16, kI8 };

/// visit(T{}) with the storage type T.
template <class Visit>
void visit_type(Type type, const Visit& visit) {
  switch (type) {
    case Type::kF32:
      return visit(float{});
    case Type::kF16:
      return visit(skim::F16{});
    case Type::kBF16:
      return visit(skim::BF16{});
    case Type::kI8:
      return visit(skim::I8{});
  }
}

/// What a suite compares: the WHAT of its names, and what stands behind it, in the suite's own words (for
/// attention: the text form of an estimator).
struct Method {
  std::string what;
  std::string recipe;
};

struct Heads {
  std::size_t q, kv;
};

/// Data of all kinds, beside "iid".
inline const std::vector<std::string> kWorkloads = {"spread0.5",
                                                    "spread3",
                                                    "corr0",
                                                    "corr1",
                                                    "spread0.5_corr1",
                                                    "spread3_corr1",
                                                    "clustered05_runs",
                                                    "clustered05",
                                                    "clustered30_runs",
                                                    "clustered30",
                                                    "sink",
                                                    "needles",
                                                    "heavy",
                                                    "outliers",
                                                    "mixed"};

/// One benchmark.
struct Case {
  std::string suite;
  Method method;
  Type type = Type::kF32;
  DataSpec data{};
  std::string workload = "iid";
  bool warm = false;  ///< caches are not emptied before each call
  bool shows_heads = true;
  std::size_t threads = 1;

  /// SUITE/WHAT/DTYPE[/heads:HqxHkv]/n:N[/d:D][/w:WORKLOAD][/warm]/threads:T
  std::string name() const {
    const Shape& s = data.shape;
    std::string text = suite + "/" + method.what + "/";
    visit_type(type, [&](auto zero) { text += name_of(zero); });
    if (shows_heads) text += "/heads:" + std::to_string(s.q_heads) + "x" + std::to_string(s.kv_heads);
    text += "/n:" + std::to_string(s.n);
    if (s.d != 128) text += "/d:" + std::to_string(s.d);
    if (workload != "iid") text += "/w:" + workload;
    if (warm) text += "/warm";
    return text + "/threads:" + std::to_string(threads);
  }
};

struct Sweep {
  std::vector<Method> methods;
  std::vector<Type> types;
  std::vector<Heads> heads;
  std::vector<std::size_t> lengths;
  std::vector<std::size_t> dims = {128};
  std::vector<std::string> workloads = {"iid"};
  std::vector<std::size_t> threads = {1, 2};
  Layout layout = Layout::kApart;
  bool huge_pages = true;
  bool warm = false;
  bool prefill = false;   ///< as many rows as positions ask, not one
  std::size_t chunk = 0;  ///< if not 0, prefill of only so many: the newest
};

/// Each case moves up to the first one with its dataset; their order is kept.
inline std::vector<Case> side_by_side(std::vector<Case> cases) {
  for (auto first = cases.begin(); first != cases.end();) {
    const Case head = *first;
    first = std::stable_partition(
        first, cases.end(), [&](const Case& c) { return c.type == head.type && c.data == head.data; });
  }
  return cases;
}

/// All benchmarks of a suite, those that share a dataset side by side.
inline std::vector<Case> expand(const std::string& suite, const std::vector<Sweep>& sweeps) {
  std::vector<Case> cases;
  const auto add = [&](const Sweep& s, const Shape& shape, const std::string& workload, Type type) {
    const std::size_t rows = s.prefill ? (s.chunk != 0 ? s.chunk : shape.n) : 1;
    const DataSpec data{shape, parse_workload(workload), s.layout, s.huge_pages, rows};
    for (const Method& method : s.methods) {
      for (const std::size_t threads : s.threads) {
        cases.push_back({suite, method, type, data, workload, s.warm, true, threads});
      }
    }
  };
  for (const Sweep& s : sweeps) {
    for (const std::size_t n : s.lengths) {
      for (const Heads heads : s.heads) {
        for (const std::size_t d : s.dims) {
          for (const std::string& workload : s.workloads) {
            for (const Type type : s.types) add(s, {heads.q, heads.kv, n, d}, workload, type);
          }
        }
      }
    }
  }
  return side_by_side(std::move(cases));
}

}  // namespace skim_bench
