// SPDX-License-Identifier: Apache-2.0
#include "bench/sweep.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace skim_bench {
namespace {

TEST(Case, NameHasAllThatIsNotTheDefault) {
  Case c{"decode", {"topk-1pct", "topk(fraction(0.01))"}, Type::kF32, {{32, 8, 4096, 128}}};
  EXPECT_EQ(c.name(), "decode/topk-1pct/f32/heads:32x8/n:4096/threads:1");
  c.type = Type::kBF16;
  c.data.shape.d = 64;
  c.workload = "clustered05_runs";
  c.warm = true;
  c.threads = 2;
  EXPECT_EQ(c.name(), "decode/topk-1pct/bf16/heads:32x8/n:4096/d:64/w:clustered05_runs/warm/threads:2");
  c.shows_heads = false;
  EXPECT_EQ(c.name(), "decode/topk-1pct/bf16/n:4096/d:64/w:clustered05_runs/warm/threads:2");
}

TEST(Sweep, ExpandsToEveryCombinationWithDatasetsSideBySide) {
  const Method dense{"dense", "dense"}, topk{"topk-1pct", "topk(fraction(0.01))"};
  const std::vector<Case> cases = expand("decode", {
                                                       {.methods = {dense},
                                                        .types = {Type::kF32, Type::kF16},
                                                        .heads = {{32, 8}, {32, 32}},
                                                        .lengths = {1024, 4096}},
                                                       {.methods = {dense},
                                                        .types = {Type::kF32},
                                                        .heads = {{32, 8}},
                                                        .lengths = {1024},
                                                        .huge_pages = false},
                                                       {.methods = {topk},
                                                        .types = {Type::kF32},
                                                        .heads = {{32, 8}},
                                                        .lengths = {1024, 4096},
                                                        .workloads = {"iid", "spread3_corr1"}},
                                                   });
  ASSERT_EQ(cases.size(), 8u * 2 + 1 * 2 + 4 * 2);
  std::set<std::string> names;
  std::vector<std::pair<Type, DataSpec>> datasets;
  for (const Case& c : cases) {
    names.insert(c.name() + (c.data.huge_pages ? "" : " 4k"));
    EXPECT_EQ(c.name().find_first_not_of(
                  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:/.-"),
              std::string::npos)
        << c.name();
    const std::pair<Type, DataSpec> data{c.type, c.data};
    if (datasets.empty() || datasets.back() != data) datasets.push_back(data);
  }
  EXPECT_EQ(names.size(), cases.size());
  for (std::size_t i = 0; i < datasets.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(datasets[i], datasets[j]) << "made twice";
  }
}

}  // namespace
}  // namespace skim_bench
