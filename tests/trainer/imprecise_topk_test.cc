// SPDX-License-Identifier: Apache-2.0
// Does the approximate top-k miss exactly as much as it says?
#include "imprecise_topk.h"

#include <algorithm>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "support/layer_problem.h"

namespace train {
namespace {

using skim::test::random_problem;
using Positions = std::vector<skim::Position>;

/// What is read of n positions, by a group of two heads; `seed` of the draws.
Positions read_by(const auto& estimator, std::size_t n, std::uint64_t seed = 5) {
  const auto problem = random_problem<float>({n, 16, 16, 2}, 1);
  skim::Query q = problem.query();
  q.stream.seed = seed;
  const skim::Selection selection = skim::select(estimator, q, problem.kv());
  Positions all;
  for (const skim::Span& span : selection.spans()) {
    for (skim::Position i = span.first; i < span.last; ++i) all.push_back(i);
  }
  for (const skim::Pick& pick : selection.picks()) {
    EXPECT_EQ(pick.log_weight, 0);
    all.push_back(pick.position);
  }
  return all;
}

std::size_t common(const Positions& a, const Positions& b) {
  Positions both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both.size();
}

TEST(ImpreciseTopK, KeepsTheShareItIsAskedFor) {
  const Positions exact = read_by(skim::TopK{20}, 300);
  for (const double precision : {0.0, 0.1, 0.26, 0.5, 0.74, 0.9, 1.0}) {
    const ImpreciseTopK estimator{20, precision};
    const Positions read = read_by(estimator, 300);
    EXPECT_EQ(read.size(), 20u) << precision;
    EXPECT_EQ(std::set<skim::Position>(read.begin(), read.end()).size(), 20u) << precision;
    EXPECT_TRUE(std::is_sorted(read.begin(), read.end())) << precision;
    EXPECT_EQ(common(read, exact), static_cast<std::size_t>(std::lround(precision * 20))) << precision;
  }
}

TEST(ImpreciseTopK, WithPrecisionOneIsTopKBitForBit) {
  for (const std::size_t n : {1u, 19u, 20u, 21u, 64u, 300u}) {
    const auto problem = random_problem<float>({n, 16, 16, 2}, 2);
    EXPECT_EQ(read_by(ImpreciseTopK{20, 1}, n), read_by(skim::TopK{20}, n)) << n;
    skim::State own = skim::attend(ImpreciseTopK{20, 1}, problem.query(), problem.kv());
    skim::State exact = skim::attend(skim::TopK{20}, problem.query(), problem.kv());
    for (std::size_t h = 0; h < 2; ++h) {
      EXPECT_EQ(own.view().lse_of(h), exact.view().lse_of(h)) << n;
      for (std::size_t i = 0; i < 16; ++i)
        EXPECT_EQ(own.view().out.row(h)[i], exact.view().out.row(h)[i]) << n;
    }
  }
}

TEST(ImpreciseTopK, IsTopKWithTiesAndNan) {
  auto problem = random_problem<float>({100, 16, 16, 1}, 3);
  std::fill(problem.keys.begin() + 10 * 16, problem.keys.begin() + 90 * 16, 0.25f);
  problem.keys[95 * 16] = NAN;
  const auto picks = [&](const auto& estimator) {
    Positions all;
    const skim::Selection selection = skim::select(estimator, problem.query(), problem.kv());
    for (const skim::Pick& pick : selection.picks()) all.push_back(pick.position);
    return all;
  };
  EXPECT_EQ(picks(ImpreciseTopK{30, 1}), picks(skim::TopK{30}));
}

TEST(ImpreciseTopK, DrawsByTheStreamAlone) {
  const ImpreciseTopK estimator{20, 0.5};
  EXPECT_EQ(read_by(estimator, 300, 5), read_by(estimator, 300, 5));
  EXPECT_NE(read_by(estimator, 300, 5), read_by(estimator, 300, 6));
}

TEST(ImpreciseTopK, EveryPositionHasItsChance) {
  const Positions exact = read_by(skim::TopK{4}, 12);
  std::vector<int> times(12);
  constexpr int kRuns = 4000;
  for (int run = 0; run < kRuns; ++run) {
    for (const skim::Position i : read_by(ImpreciseTopK{4, 0.5}, 12, static_cast<std::uint64_t>(run)))
      ++times[static_cast<std::size_t>(i)];
  }
  for (skim::Position i = 0; i < 12;
       ++i) {  // 2 of the 4, and 2 of the 8 others; six standard deviations
    const double chance = std::binary_search(exact.begin(), exact.end(), i) ? 0.5 : 0.25;
    EXPECT_NEAR(times[static_cast<std::size_t>(i)], kRuns * chance,
                6 * std::sqrt(kRuns * chance * (1 - chance)))
        << i;
  }
}

TEST(ImpreciseTopK, TakesAllOthersWhereTheyAreTooFew) {
  const Positions exact = read_by(skim::TopK{20}, 23);
  const Positions read = read_by(ImpreciseTopK{20, 0.5}, 23);
  EXPECT_EQ(read.size(), 13u);
  EXPECT_EQ(common(read, exact), 10u);
  EXPECT_EQ(read_by(ImpreciseTopK{20, 0.5}, 20).size(), 20u) << "all that there is";
  EXPECT_EQ(read_by(ImpreciseTopK{20, 0.5}, 3).size(), 3u);
}

TEST(ImpreciseTopK, SelectsWhatEarlierStagesLeave) {
  const auto after_sinks = skim::stack(skim::Sinks{4}, ImpreciseTopK{20, 0.5});
  const Positions exact = read_by(skim::stack(skim::Sinks{4}, skim::TopK{20}), 300);
  Positions read = read_by(after_sinks, 300);
  EXPECT_EQ(read.size(), 24u);
  EXPECT_EQ(common(read, exact), 14u);
}

TEST(ImpreciseTopK, RefusesWhatIsNoShare) {
  EXPECT_THROW(read_by(ImpreciseTopK{0, 0.5}, 10), std::invalid_argument);
  EXPECT_THROW(read_by(ImpreciseTopK{4, 1.5}, 10), std::invalid_argument);
  EXPECT_THROW(read_by(ImpreciseTopK{4, NAN}, 10), std::invalid_argument);
}

}  // namespace
}  // namespace train
