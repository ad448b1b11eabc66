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

/// A user's own that ranks by an index.
struct OwnByIndex : Own {
  Source by = Source::kSketch4;
};

TEST(Estimator, SaysWhichIndexesItNeeds) {
  constexpr Sources kFour = sources_bit(Source::kSketch4), kOne = sources_bit(Source::kSketch1);
  EXPECT_EQ(sources(Dense{}) | sources(Sinks{1}) | sources(UniformTail{1}) | sources(TopP{0.5}) | sources(Own{}), 0u);
  EXPECT_EQ(sources(TopK{1}), 0u);
  EXPECT_EQ(sources(TopK{1, Source::kSketch4}), kFour);
  EXPECT_EQ(sources(PriorityTail{1, Source::kSketch1}), kOne);
  EXPECT_EQ(sources(SystematicTail{1, Source::kSketch1}), kOne);
  EXPECT_EQ(sources(MultinomialTail{1, Source::kSketch1}), kOne);
  EXPECT_EQ(sources(PoissonTail{1, Source::kSketch1}), kOne);
  EXPECT_EQ(sources(OwnByIndex{}), kFour);
  EXPECT_EQ(sources(stack(Sinks{1}, TopK{1, Source::kSketch4}, PriorityTail{1, Source::kSketch1})), kFour | kOne);
  EXPECT_EQ(sources(stack(stack(TopK{1, Source::kSketch4}), PriorityTail{1})), kFour);
  EXPECT_EQ(sources(parse("topk(1,by=sketch4)+topk(2)+priority(1,by=sketch1)")), kFour | kOne);
  EXPECT_EQ(sources(parse("sinks(1)+topk(1)")), 0u);
}

// Who goes by an index does not ask for the logits of every key, so nobody computes them ahead.
TEST(Estimator, ByAnIndexReadsNoLogits) {
  EXPECT_FALSE(reads_logits(TopK{1, Source::kSketch4}) || reads_logits(PriorityTail{1, Source::kExternal}) ||
               reads_logits(parse("sinks(1)+topk(1,by=sketch8,exact)")));
  EXPECT_TRUE(reads_logits(stack(TopK{1, Source::kSketch4}, PriorityTail{1})) &&
              reads_logits(parse("topk(1,by=sketch1)+systematic(1)")));
}

}  // namespace
}  // namespace skim::test
