// SPDX-License-Identifier: Apache-2.0
// Does the priority tail choose by a_i / u_i, and weigh by max(1, tau / a_i)?
// (That this is unbiased is checked exactly in tests/laws/priority_exact_test.cc.)
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

struct Priority : testing::Test {
  Problem<float> p = random_problem<float>({200, 16, 4, 1}, 1);
  Query q = p.query();

  Selection selected(const auto& estimator) { return select(estimator, q, p.kv()); }
};

/// The sample in words: by the uniform numbers of the stream, for one head.
std::vector<Pick> by_hand(const Problem<float>& p, const Query& query, skim::Span left, std::size_t budget) {
  const Query q = query.resolved(static_cast<Position>(p.shape.n));
  Workspace ws;
  const auto s = logits(q, p.kv(), ws);
  const Draws draws(q.stream, q.position);
  std::vector<std::pair<double, Position>> priorities;  // ln (a / u)
  for (Position i = left.first; i < left.last; ++i) {
    priorities.push_back({static_cast<double>(s.of_head(0)[i]) - std::log(draws.uniform(static_cast<std::uint64_t>(i))), i});
  }
  std::sort(priorities.rbegin(), priorities.rend());
  const double log_tau = priorities[budget].first;
  std::vector<Pick> picks;
  for (std::size_t j = 0; j < budget; ++j) {
    const Position i = priorities[j].second;
    picks.push_back({i, std::max(0.0, log_tau - static_cast<double>(s.of_head(0)[i]))});
  }
  std::sort(picks.begin(), picks.end(), [](const Pick& a, const Pick& b) { return a.position < b.position; });
  return picks;
}

TEST_F(Priority, IsWhatItsWordsSay) {
  for (const std::size_t budget : {1u, 2u, 20u, 100u, 198u, 199u}) {
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      q.stream = {seed, 1, 2, 3};
      const Selection sample = selected(PriorityTail{budget});
      const auto expected = by_hand(p, q, {0, 200}, budget);
      ASSERT_EQ(sample.picks().size(), budget);
      EXPECT_TRUE(sample.spans().empty());
      for (std::size_t j = 0; j < budget; ++j) {
        EXPECT_EQ(sample.picks()[j].position, expected[j].position) << j << " of " << budget;
        EXPECT_NEAR(sample.picks()[j].log_weight, expected[j].log_weight, 1e-5) << j << " of " << budget;
      }
    }
  }
}

// tau is the first priority of the residual that was not chosen: earlier stages take no part.
TEST_F(Priority, AmongWhatIsLeft) {
  const Selection sample = selected(stack(Sinks{30}, Window{50}, PriorityTail{20}));
  const auto expected = by_hand(p, q, {30, 150}, 20);
  ASSERT_EQ(sample.picks().size(), 20u);
  for (std::size_t j = 0; j < 20; ++j) {
    EXPECT_EQ(sample.picks()[j].position, expected[j].position);
    EXPECT_NEAR(sample.picks()[j].log_weight, expected[j].log_weight, 1e-5);
  }
}

// The uniform number belongs to the position: what an earlier stage has taken shifts no other's.
TEST_F(Priority, AKeyKeepsItsNumberAsTheCacheGrows) {
  Query early = q;
  early.position = 150;
  Query late = early;
  late.visible = {0, 200};
  late.causal = false;
  const Selection a = select(PriorityTail{10}, early, p.kv()), b = select(PriorityTail{10}, late, p.kv());
  // Of those chosen among all 200, the ones below 151 had been chosen among the first 151.
  std::size_t old = 0;
  for (const Pick& pick : b.picks()) {
    if (pick.position > 150) continue;
    ++old;
    EXPECT_TRUE(std::any_of(a.picks().begin(), a.picks().end(),
                            [&](const Pick& other) { return other.position == pick.position; }));
  }
  EXPECT_GT(old, 0u);
}

TEST_F(Priority, WeightsAreNeverBelowOneAndTheLargestKeyHasOne) {
  p.keys[77 * 16] = 0;
  for (std::size_t c = 0; c < 16; ++c) p.keys[77 * 16 + c] = 3 * p.q[c];  // far above the rest
  const Selection sample = selected(PriorityTail{20});
  bool found = false;
  for (const Pick& pick : sample.picks()) {
    EXPECT_GE(pick.log_weight, 0.0);
    if (pick.position != 77) continue;
    found = true;
    EXPECT_EQ(pick.log_weight, 0.0);
  }
  EXPECT_TRUE(found);
}

TEST_F(Priority, EqualLogitsAreAUniformSample) {
  std::fill(p.keys.begin(), p.keys.end(), 0.25f);
  const Selection sample = selected(PriorityTail{20});
  ASSERT_EQ(sample.picks().size(), 20u);
  for (const Pick& pick : sample.picks()) EXPECT_EQ(pick.log_weight, sample.picks()[0].log_weight);
}

// Through the whole path, in a group: numerator and denominator right on average, for every head.
TEST_F(Priority, TheStateIsRightOnAverage) {
  constexpr int kSeeds = 4000;
  const auto group = random_problem<float>({100, 8, 2, 3}, 2);
  Query query = group.query();
  const State exact = attend(Dense{}, query, group.kv());
  double sum[3][3] = {}, squares[3][3] = {};
  for (int seed = 0; seed < kSeeds; ++seed) {
    query.stream.seed = static_cast<std::uint64_t>(seed);
    const State state = attend(stack(Sinks{3}, PriorityTail{12}), query, group.kv());
    for (std::size_t h = 0; h < 3; ++h) {
      const double denominator = std::exp(static_cast<double>(state.lse(h)) - static_cast<double>(exact.lse(h)));
      const double parts[3] = {denominator, denominator * state.out(h)[0], denominator * state.out(h)[1]};
      for (std::size_t c = 0; c < 3; ++c) {
        sum[h][c] += parts[c];
        squares[h][c] += parts[c] * parts[c];
      }
    }
  }
  for (std::size_t h = 0; h < 3; ++h) {
    const double truth[3] = {1, exact.out(h)[0], exact.out(h)[1]};
    for (std::size_t c = 0; c < 3; ++c) {
      const double mean = sum[h][c] / kSeeds;
      const double deviation = std::sqrt((squares[h][c] / kSeeds - mean * mean) / kSeeds);
      EXPECT_NEAR(mean, truth[c], 5.5 * deviation) << "head " << h << ", part " << c;
      EXPECT_LT(deviation, 0.02);
    }
  }
}

}  // namespace
}  // namespace skim::test
