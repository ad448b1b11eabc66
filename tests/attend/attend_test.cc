// SPDX-License-Identifier: Apache-2.0
// Do the three verbs in a row give what the one call gives?
#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

TEST(Attend, SelectThenAttendIsTheFusedCallBitForBit) {
  const auto p = random_problem<BF16>({500, 64, 48, 4}, 1);
  for (const char* text : {"dense", "topk(50)", "sinks(4)+window(16)+priority(60)", "uniform(40)"}) {
    const StageList e = parse(text);
    const State fused = attend(e, p.query(), p.kv());
    const State apart = attend(select(e, p.query(), p.kv()), p.query(), p.kv());
    EXPECT_TRUE(same_bits(fused.out(), apart.out(), 4 * 48)) << text;
    for (std::size_t h = 0; h < 4; ++h) EXPECT_EQ(fused.lse(h), apart.lse(h)) << text;
  }
}

TEST(Attend, MergingTwoHalvesIsTheWhole) {
  const auto p = random_problem<float>({500, 64, 48, 2}, 2);
  Query first = p.query(), second = p.query();
  first.visible = {0, 200};
  second.visible = {200, 500};
  State half = attend(Dense{}, first, p.kv()), other = attend(Dense{}, second, p.kv());
  merge(half.view(), other.view());
  EXPECT_TRUE(agrees_with_dense(half.view(), p, p.query()));
}

}  // namespace
}  // namespace skim::test
