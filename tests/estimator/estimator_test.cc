// SPDX-License-Identifier: Apache-2.0
// What counts as an estimator?
#include <gtest/gtest.h>

#include "skim/skim.h"

namespace skim::test {
namespace {

struct Own {
  void validate() const {}
  std::size_t max_picks(std::size_t n) const { return n; }
  void select(const Query&, const ContiguousKv<float>&, Selection&, Workspace&) const {}
};
struct WithoutMaxPicks {
  void validate() const {}
};

TEST(Estimator, TheLibrarysAndAUsersAreEstimators) {
  static_assert(Estimator<Dense> && Estimator<TopK> && Estimator<StageList> &&
                Estimator<Stack<Sinks, TopK>>);
  static_assert(Estimator<Own> && SelectsFrom<Own, ContiguousKv<float>>);
  static_assert(!Estimator<WithoutMaxPicks> && !Estimator<int>);
  static_assert(!SelectsFrom<Own, ContiguousKv<BF16>>);
  EXPECT_TRUE((stands_for_rest<UniformTail>() && stands_for_rest<Stack<Sinks, PriorityTail>>()));
  EXPECT_FALSE((stands_for_rest<TopK>() || stands_for_rest<Own>() || stands_for_rest<TopP>()));
  EXPECT_TRUE(reads_logits(TopK{1}) && reads_logits(stack(Sinks{1}, PriorityTail{1})) &&
              reads_logits(parse("sinks(1)+topp(0.5)")));
  EXPECT_FALSE(reads_logits(Dense{}) || reads_logits(stack(Sinks{1}, UniformTail{1})) ||
               reads_logits(parse("window(1)")) || reads_logits(Own{}));
}

}  // namespace
}  // namespace skim::test
