// SPDX-License-Identifier: Apache-2.0
// Are scores that the caller brings taken as they are, each for its query and its position?
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "core/expect_error.h"
#include "support/indexes.h"

namespace skim::test {
namespace {

std::vector<Position> picks_of(const Selection& selection) {
  std::vector<Position> positions;
  for (const Pick& pick : selection.picks()) positions.push_back(pick.position);
  return positions;
}

struct ExternalRank : testing::Test {
  Problem<float> p = random_problem<float>({10, 4, 4, 2}, 1);
  // Rows for the queries at positions 7, 8 and 9.
  std::vector<float> scores = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0,  0, 1, 2, 3, 4, 5, 6, 7, 8, 9,  5, 5, 5, 1, 1, 1, 9, 1, 1, 1};
  ExternalScores external{{scores.data(), 3, 10}, 7};

  Selection selected(Position position, const auto& estimator) {
    Query q = p.query();
    q.position = position;
    return select(estimator, q, with_index(p.kv(), external));
  }
};

TEST_F(ExternalRank, RanksByTheRowOfTheQuery) {
  const TopK three{3, Source::kExternal};
  EXPECT_EQ(picks_of(selected(7, three)), (std::vector<Position>{0, 1, 2}));
  EXPECT_EQ(picks_of(selected(8, three)), (std::vector<Position>{6, 7, 8})) << "what is visible only";
  EXPECT_EQ(picks_of(selected(9, three)), (std::vector<Position>{0, 1, 6})) << "ties to the lower position";
}

TEST_F(ExternalRank, AfterEarlierStages) {
  EXPECT_EQ(picks_of(selected(7, stack(Sinks{2}, TopK{2, Source::kExternal}))), (std::vector<Position>{2, 3}));
}

TEST_F(ExternalRank, WhatIsNotANumberRanksLast) {
  scores[0] = NAN;
  scores[1] = -INFINITY;
  scores[2] = INFINITY;
  EXPECT_EQ(picks_of(selected(7, TopK{6, Source::kExternal})), (std::vector<Position>{2, 3, 4, 5, 6, 7}));
}

// They name candidates; the keys decide.
TEST_F(ExternalRank, NamesCandidates) {
  const Selection selection = selected(7, TopK{2, Source::kExternal, 4});
  Query q = p.query();
  q.position = 7;
  q.visible = {0, 4};  // what the scores rank first
  EXPECT_EQ(picks_of(selection), picks_of(select(TopK{2}, q, p.kv())));
}

// The scores are of the KV head: every query head of the group goes by the same.
TEST_F(ExternalRank, SpeaksForTheGroup) {
  Query q = p.query();
  const TopK three{3, Source::kExternal};
  const auto kv = with_index(p.kv(), external);
  EXPECT_EQ(picks_of(select(three, q.head(0), kv)), picks_of(select(three, q, kv)));
  EXPECT_EQ(picks_of(select(three, q.head(1), kv)), picks_of(select(three, q, kv)));
}

TEST_F(ExternalRank, InDoubleToo) {
  const auto twice = random_problem<double>({10, 4, 4, 1}, 1);
  EXPECT_EQ(picks_of(select(TopK{3, Source::kExternal}, twice.query(), with_index(twice.kv(), external))),
            (std::vector<Position>{0, 1, 6}));
}

TEST_F(ExternalRank, RowsMayHaveAStride) {
  std::vector<float> wide(3 * 13, 100);
  for (std::size_t r = 0; r < 3; ++r) std::copy_n(scores.data() + r * 10, 10, wide.data() + r * 13);
  external.scores = {wide.data(), 3, 10, 13};
  EXPECT_EQ(picks_of(selected(9, TopK{3, Source::kExternal})), (std::vector<Position>{0, 1, 6}));
}

TEST_F(ExternalRank, ErrorsNameBothNumbers) {
  const TopK one{1, Source::kExternal};
  expect_error([&] { selected(6, one); }, {"external scores", "[7, 10)", "at 6"});
  external.first_query = 3;
  expect_error([&] { selected(9, one); }, {"external scores", "[3, 6)", "at 9"});
  external.scores.cols = 9;
  expect_error([&] { selected(9, one); }, {"table of external scores", "9", "10"});
}

TEST_F(ExternalRank, CountsItsBytes) { EXPECT_EQ(external.bytes(), 3 * 10 * sizeof(float)); }

}  // namespace
}  // namespace skim::test
