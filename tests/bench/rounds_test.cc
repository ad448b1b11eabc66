// SPDX-License-Identifier: Apache-2.0
#include "bench/rounds.h"

#include <gtest/gtest.h>

#include <string>

namespace skim_bench {
namespace {

TEST(Median, IsTheMiddleOrTheMeanOfTwo) {
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({4, 1, 2, 100}), 3);
  EXPECT_THROW(median({}), std::invalid_argument);
}

TEST(Patience, RunsAsManyRoundsAsFit) {
  const Patience patience;
  EXPECT_EQ(patience.count(1e-6), 41u);
  EXPECT_EQ(patience.count(0.2), 10u);
  EXPECT_EQ(patience.count(1.9), 5u);
  EXPECT_EQ(patience.count(60), 3u);
  EXPECT_EQ(Patience{7}.count(60), 7u);
}

TEST(Rounds, RunInTurnAfterAWarmUpEveryOtherRoundBackwards) {
  std::string log;
  const Rounds rounds(
      {{"this", [&] { log += 'a'; }}, {"dense", [&] { log += 'b'; }}, {"read", [&] { log += 'c'; }}},
      [&](const Contestant&) { log += '.'; }, Patience{3});
  EXPECT_EQ(log,
            ".a.b.c"
            ".a.b.c"
            ".c.b.a"
            ".a.b.c");
  EXPECT_EQ(rounds.count(), 3u);
  EXPECT_TRUE(rounds.has("dense"));
  EXPECT_FALSE(rounds.has("naive"));
  EXPECT_THROW(rounds.seconds("naive"), std::invalid_argument);
}

TEST(Rounds, FiguresAreMediansWithoutWarmUpAndPreparation) {
  using std::chrono::milliseconds;
  int calls = 0;
  const Rounds rounds(
      {{"slow", [&] { std::this_thread::sleep_for(milliseconds(calls++ == 0 ? 400 : 20)); }},
       {"fast", [] { std::this_thread::sleep_for(milliseconds(5)); }}},
      [](const Contestant&) { std::this_thread::sleep_for(milliseconds(10)); }, Patience{5});
  EXPECT_GE(rounds.seconds("slow"), 0.020);
  EXPECT_LT(rounds.seconds("slow"), 0.200);  // with room for a loaded machine
  EXPECT_GT(rounds.ratio("slow", "fast"), 1);
  EXPECT_DOUBLE_EQ(rounds.ratio("fast", "fast"), 1);
  EXPECT_NEAR(rounds.ratio_without("slow", "fast", "fast"), rounds.ratio("slow", "fast") - 1, 1e-9);
  EXPECT_GT(rounds.off_cpu(), 0.9) << "who sleeps does not run";
}

}  // namespace
}  // namespace skim_bench
