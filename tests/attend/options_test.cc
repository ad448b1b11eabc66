// SPDX-License-Identifier: Apache-2.0
// Do the options of a layer-level call do what they say?
#include <gtest/gtest.h>

#include <span>
#include <stdexcept>
#include <vector>

#include "skim/skim.h"
#include "support/problem.h"
#include "support/threads.h"

namespace skim::test {
namespace {

struct Call {
  Problem<float> p;
  std::vector<float> out;

  Call() : p(random_problem<float>(Shape{100, 16, 16, 4}, 1)), out(4 * 16, 7.0f) {}

  void run(const StageList& estimator, const Options& options) {
    const ContiguousKv<float> kv = p.kv();
    LayerQuery query;
    query.rows = {p.q.data(), 1, 4, 16};
    attend(estimator, query, LayerKv<ContiguousKv<float>>{std::span(&kv, 1), 1}, LayerState{{out.data(), 1, 4, 16}},
           options);
  }
};

TEST(Options, AWorkspaceForEachThreadIsDemanded) {
  Call call;
  std::vector<Workspace> workspaces(2);
  EXPECT_THROW(call.run(parse("dense"), {.executor = backwards(3), .workspaces = workspaces}), std::invalid_argument);
  for (const float x : call.out) EXPECT_EQ(x, 7.0f);
}

TEST(Options, NoneOfThemChangesABit) {
  Call plain, threaded, unchecked;
  std::vector<Workspace> workspaces(3);
  const StageList e = parse("sinks(2)+topk(10)+priority(20)");
  plain.run(e, {});
  threaded.run(e, {.executor = backwards(3), .workspaces = workspaces});
  unchecked.run(e, {.check = false});
  EXPECT_TRUE(same_bits(plain.out.data(), threaded.out.data(), plain.out.size()));
  EXPECT_TRUE(same_bits(plain.out.data(), unchecked.out.data(), plain.out.size()));
}

}  // namespace
}  // namespace skim::test
