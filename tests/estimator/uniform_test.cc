// SPDX-License-Identifier: Apache-2.0
// Does the uniform tail draw from all that is left, afresh for every query, head, layer and sequence?
// (That its draws are fair is checked exactly in tests/laws/uniform_exact_test.cc.)
#include <cmath>
#include <set>

#include <gtest/gtest.h>

#include "skim/skim.h"
#include "support/problem.h"

namespace skim::test {
namespace {

struct Uniform : testing::Test {
  Problem<float> p = random_problem<float>({200, 4, 4, 2}, 1);
  Query q = p.query();

  std::vector<Position> picks(const auto& estimator, const Stream& stream = {}) {
    q.stream = stream;
    std::vector<Position> positions;
    const Selection selection = select(estimator, q, p.kv());
    for (const Pick& pick : selection.picks()) positions.push_back(pick.position);
    return positions;
  }
};

TEST_F(Uniform, AsManyAsTheBudget) {
  for (const std::size_t b : {1u, 2u, 63u, 64u, 65u, 199u}) EXPECT_EQ(picks(UniformTail{b}).size(), b);
  EXPECT_EQ(picks(UniformTail{fraction(0.25)}).size(), 50u);
  EXPECT_EQ(picks(UniformTail{0}).size(), 0u);
}

TEST_F(Uniform, TheSameStreamDrawsTheSame) {
  EXPECT_EQ(picks(UniformTail{20}, {1, 2, 3, 4}), picks(UniformTail{20}, {1, 2, 3, 4}));
}

TEST_F(Uniform, AnythingElseDrawsAnew) {
  std::set<std::vector<Position>> sets;
  const Stream streams[] = {{1, 2, 3, 4}, {2, 2, 3, 4}, {1, 3, 3, 4}, {1, 2, 4, 4}, {1, 2, 3, 5}, {2, 1, 3, 4},
                            {1, 3, 2, 4}, {std::uint64_t{1} << 40, 2, 3, 4}, {1, 2, 3, std::uint64_t{1} << 40}};
  for (const Stream& stream : streams) sets.insert(picks(UniformTail{20}, stream));
  EXPECT_EQ(sets.size(), 9u);
  std::set<std::vector<Position>> positions;
  for (q.position = 199; q.position < 209; ++q.position) positions.insert(picks(UniformTail{20}));  // all see all
  EXPECT_EQ(positions.size(), 10u);
}

TEST_F(Uniform, DoesNotLookAtKeys) {
  const auto before = picks(UniformTail{20});
  std::fill(p.keys.begin(), p.keys.end(), NAN);
  EXPECT_EQ(picks(UniformTail{20}), before);
}

// From seed to position: every position that is left equally often. Hoeffding: a false alarm is rarer than 1e-6.
TEST_F(Uniform, EveryPositionThatIsLeftEquallyOften) {
  constexpr int kSeeds = 20000;
  std::vector<int> times(200, 0);
  for (int seed = 0; seed < kSeeds; ++seed) {
    for (const Position i : picks(stack(Sinks{10}, Window{90}, UniformTail{20}), {static_cast<std::uint64_t>(seed), 0, 0, 0})) {
      ++times[static_cast<std::size_t>(i)];
    }
  }
  const double allowed = std::sqrt(std::log(2 * 100 / 1e-6) / (2.0 * kSeeds));
  for (std::size_t i = 0; i < 200; ++i) {
    const double frequency = times[i] / static_cast<double>(kSeeds);
    EXPECT_NEAR(frequency, i >= 10 && i < 110 ? 0.2 : 0.0, i >= 10 && i < 110 ? allowed : 0.0) << i;
  }
}

// So numerator and denominator are right on average: the exact ones are within the noise of many seeds.
TEST_F(Uniform, TheDenominatorIsRightOnAverage) {
  constexpr int kSeeds = 5000;
  q.stream = {};
  const State exact = attend(Dense{}, q, p.kv());
  for (std::size_t h = 0; h < 2; ++h) {
    double sum = 0, squares = 0;
    for (int seed = 0; seed < kSeeds; ++seed) {
      q.stream.seed = static_cast<std::uint64_t>(seed);
      const State state = attend(UniformTail{20}, q, p.kv());
      const double ratio = std::exp(static_cast<double>(state.lse(h)) - static_cast<double>(exact.lse(h)));
      sum += ratio;
      squares += ratio * ratio;
    }
    const double mean = sum / kSeeds, deviation = std::sqrt((squares / kSeeds - mean * mean) / kSeeds);
    EXPECT_NEAR(mean, 1, 5.2 * deviation) << "head " << h;
    EXPECT_LT(deviation, 0.02) << "enough seeds to notice a bias of a tenth";
  }
}

}  // namespace
}  // namespace skim::test
